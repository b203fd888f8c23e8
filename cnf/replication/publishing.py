"""What may be done with weights, by the data that they were trained on."""

TERMS = {
    "tinyimagenet": "Trained on pictures of ImageNet, whose terms allow non-commercial research "
    "and educational use: use the weights in the same way.",
    "drive": "Trained on DRIVE, which is free for research and educational purposes: use the "
    "weights in the same way. No DRIVE picture is in this repository.",
    "stare": "Trained on STARE, which is offered for research: use the weights in the same way. No "
    "STARE picture is in this repository.",
    "chasedb1": "Trained on CHASE_DB1 (Fraz et al. 2012; CC BY 4.0): name it where you use the "
    "weights.",
    "embedded": "Trained on data that are free of rights: use the weights as you like (MIT).",
    "known": "Trained on data drawn from a formula: use the weights as you like (MIT).",
    "folder": "Trained on pictures of a folder: what may be done with the weights is for their "
    "owners to say.",
}
TERMS["imagenet"] = TERMS["tinyimagenet"]


def terms(train: str) -> list[str]:
    """What may be done with weights trained on the set, or on several joined by "+"; that a part is
    free goes without saying."""
    parts = train.split("+")
    found = [text for key, text in TERMS.items() if any(p.startswith(key) for p in parts)]
    free = [TERMS["embedded"], TERMS["known"]]
    bound = [text for text in dict.fromkeys(found) if text not in free]
    return bound or found[:1]
