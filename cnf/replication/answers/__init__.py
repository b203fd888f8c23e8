"""What a reader does with a trained model: from files to answers. On top of the other rooms, and
apart: neither training nor scoring imports it.

sample.py        what is drawn for a picture, and the files that hold it
answer.py        one call that answers: `cnf.upscale`, `cnf.segment`
given.py         what a program gives as a picture
picture.py       how a picture is seen, and what is written of an answer; half_picture.py and
                 eye_picture.py what differs for one that is doubled, or of an eye (view.py)
tiling.py        a large picture in tiles that share its noise
sheet.py         the contact sheet
formats.py       files of 8 and 16 bits
export.py        a model as ONNX graphs, and as a folder for a model hub
"""
