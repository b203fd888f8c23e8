"""Which class sees the pictures of a task; `Picture` itself where none is named. A task of your own
may add its class."""

from cnf.replication.sampling.picture import Picture
from cnf.replication.tasks import SR, VESSELS
from cnf.replication.tasks.super_resolution.picture import HalfPicture
from cnf.replication.tasks.vessels.picture import EyePicture

PICTURES: dict[str, type[Picture]] = {SR.name: HalfPicture, VESSELS.name: EyePicture}
