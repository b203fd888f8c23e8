"""The folder of a run:

config.json          configuration, seed, hashes of the data, budget in steps, hardware, commit
history.jsonl, .png  one line a validation, and the plot of it
last.pt, step-N.pt   everything needed to resume, or to branch off
weights.safetensors  averaged weights of the best validation, for `cnf.load`

files.py          how they are written and read (config.json is read by `records`, without torch)
command_lines.py  the commands that make a run again
provenance.py     what made a number: training, code, machine
publishing.py     from a run folder into results/
"""

from cnf.replication.records import (
    ancestors,
    data_before,
    duration_text,
    read_record,
)
from cnf.replication.run_folder.command_lines import command, commands, name_of, source_words
from cnf.replication.run_folder.files import (
    atomic,
    check_there,
    file_sha256,
    first_line,
    locked,
    read_checkpoint,
    read_config,
    read_history,
    refuse_unwritable,
    trained,
    write_atomically,
    write_checkpoint,
    write_history,
    write_record,
)
from cnf.replication.run_folder.provenance import (
    device_name,
    processor,
    provenance,
    training_record,
)

__all__ = [
    "ancestors",
    "atomic",
    "check_there",
    "command",
    "commands",
    "data_before",
    "device_name",
    "duration_text",
    "file_sha256",
    "first_line",
    "locked",
    "name_of",
    "processor",
    "provenance",
    "read_checkpoint",
    "read_config",
    "read_history",
    "read_record",
    "refuse_unwritable",
    "source_words",
    "trained",
    "training_record",
    "write_atomically",
    "write_checkpoint",
    "write_history",
    "write_record",
]
