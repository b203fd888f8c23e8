"""Which class sees the pictures of a task; `Picture` itself where none is named. A task of your own
may add its class."""

from cnf.replication.answers.eye_picture import EyePicture
from cnf.replication.answers.half_picture import HalfPicture
from cnf.replication.answers.picture import Picture
from cnf.replication.tasks import SR, VESSELS

PICTURES: dict[str, type[Picture]] = {SR.name: HalfPicture, VESSELS.name: EyePicture}
