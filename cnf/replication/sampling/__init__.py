"""From a reader's files to a model's answers.

sample.py   what is drawn for a picture, and the files that hold it
answer.py   one call that answers: `cnf.upscale`, `cnf.segment`
picture.py  how a picture is seen, and what is written of an answer
tiling.py   a large picture in tiles that share its noise
"""
