"""From a reader's files to a model's answers.

sample.py       what is drawn for a picture, and the files that hold it
fundus_view.py  how a photograph of an eye is seen, and what is said of it
tiling.py       a large picture in tiles that share its noise
"""
