from .examples import Example as Example
from .examples import ImageSet as ImageSet
from .examples import pixel_hash as pixel_hash
from .loading import load as load
