"""Which protocol can have given a published row of DRIVE.

    python experiments/published_audit/audit.py

writes `verdicts.json` with mlscorecheck (see requirements.txt), which knows the numbers of vessel
and other pixels of every test photograph and asks whether any predictions have these three scores.
A row fits a protocol if they are possible for scores that were averaged over the photographs (mean)
or computed from all pixels together (pooled)."""

import json
import logging
from pathlib import Path

import yaml
from mlscorecheck.check.bundles.retina import check_drive_vessel_aggregated

FOLDER = Path(__file__).parent
PROTOCOLS = {"view": "fov", "frame": "all"}  # ours: theirs
WAYS = {"mean": "mos", "pooled": "som"}
ROUNDING = 1e-4  # the scores have four digits, which may have been rounded or cut


def main() -> None:
    logging.disable()
    verdicts = {}
    for key, table in yaml.safe_load((FOLDER / "rows.yml").read_text("utf-8")).items():
        for row in table["rows"]:
            found = check_drive_vessel_aggregated(
                imageset="test",
                annotator=1,
                scores={name: row[name] for name in ("acc", "sens", "spec")},
                eps=ROUNDING,
                verbosity=0,
            )["inconsistency"]
            verdicts[f"{key}/{row['method']}"] = {
                protocol: [way for way in WAYS if not found[f"inconsistency_{name}_{WAYS[way]}"]]
                for protocol, name in PROTOCOLS.items()
            }
    text = json.dumps(verdicts, indent=1)
    (FOLDER / "verdicts.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
