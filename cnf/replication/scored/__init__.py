"""A model on an image set: what every metric is made of.

model.py         `ScoredModel`, which computes each of these things once
options.py       what an evaluation is asked for
thresholds.py    where a threshold may be chosen
own_pictures.py  a folder of one's own as an image set
variants.py      other models made of the weights of one, which experiments register
"""
