"""What the lesson on binary targets says of the released vessel flow's noise is so."""

from cnf.replication import releases, run_folder


def test_the_lesson_names_the_noise_of_the_released_vessel_flow():
    noise = releases.load("vessels").config.model["noise"]
    page = (run_folder.REPOSITORY / "book/07-binary-targets.md").read_text("utf-8")
    assert f"The vessel flow of this package uses {noise.capitalize()} noise" in page
    # only Gaussian noise makes the variance of the weights infinite for certain
    assert ("weights of infinite variance" in page) == (noise == "gaussian")
