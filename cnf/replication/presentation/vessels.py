"""How models of retinal vessels are scored and shown."""

from typing import Any

from cnf.replication.presentation.presentation import Card, Presentation, present
from cnf.replication.tasks.vessels import VESSELS


def second_observer(scored: Any) -> list | None:
    """The masks of the second observer, where all pictures have one."""
    return scored.second_masks


def truth(scored: Any) -> list:
    """y itself."""
    return [scored.images[i].y for i in scored.indices]


CARD = Card(
    title="retinal vessels: p(y|x) of a vessel mask y given a fundus photograph x",
    example="EYE.png --samples 16",
    reading="F is pooled over the pixels of all pictures, inside the field of view where a set "
    "has one; samples are at temperature 1; the calibration error is that of marginals between "
    "0.05 and 0.95; pieces are 8-connected.",
    limits=(
        "It is not a medical device and was not tested on any disease; do not use it for "
        "diagnosis.",
        "It was trained at one resolution, on one camera. `sample` resizes a photograph of "
        "another size, and says so; another kind of camera needs another training.",
        "On thin vessels, and at the borders of thick ones, observers disagree, and its "
        "samples differ, too.",
    ),
)

VESSEL_MASKS = present(
    VESSELS,
    Presentation(
        embedded="embedded-vessels",
        far="far-vessels",
        bits="bits_per_pixel",
        divisors=("all pixels", "field of view"),
        samples=32,
        samples_of_patches=32,
        full_samples=64,
        needs_samples=False,
        has_threshold=True,
        references={"second observer": second_observer, "truth": truth},
        worst=("f_half", "bits_per_pixel"),
        written_samples=16,
        mean_samples=16,
        mean="marginal",
        card=CARD,
        scores={
            "bits/pixel": {"metric": "bits_per_pixel", "divided_by": "all pixels"},
            "F of the marginals at 0.5": {"metric": "f_half"},
            "at the threshold chosen on validation": {"metric": "f_valid"},
            "F of a sample": {"metric": "f_sample"},
            "area under the ROC curve": {"metric": "auc"},
            "calibration error": {"metric": "calibration_error"},
            "pieces of a sample over the truth's": {"metric": "components_ratio_sample"},
            "90 % intervals of area hold": {"metric": "area_coverage"},
        },
        spread={"metric": "area_coverage"},
        spread_of="the area of vessels",
        threshold={"metric": "f_valid"},
        pipeline="image-segmentation",
    ),
)
