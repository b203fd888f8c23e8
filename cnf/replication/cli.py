"""Conditional normalizing flows: train, evaluate, sample, and the data and numbers behind them.

Every command works on a fresh machine: without a named image set it uses pictures that come with
the package. Other sets are looked for in $CNF_DATA, else in data/ of the repository, or of an
installed package in a folder that `data list` names. `--version` names version and commit.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from cnf import interrupts
from cnf.errors import CnfError, ConfigError
from cnf.replication.options import Device, Flag, Folder, Minutes, Number, Text, Threads, option
from cnf.replication.places import require_checkout


def _options_of(module: str) -> object:
    """The options of a module's class `Options`; the module is imported only for its command."""
    return tyro.conf.arg(
        name="", constructor_factory=lambda: import_module(f"cnf.replication.{module}").Options
    )


def train(
    target: Annotated[str | None, tyro.conf.Positional, option("{sr,vessels,FILE.yml}")] = None,
    model: Annotated[Literal["flow", "baseline"] | None, option("MODEL")] = None,
    preset: Text = None,
    overrides: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], option("KEY=VALUE", name="set")
    ] = (),
    minutes: Minutes = None,
    steps: Number = None,
    max_minutes: Minutes = None,
    resume: Folder = None,
    start: Annotated[Path | None, option("NAME|DIR")] = None,
    data: Annotated[Path | None, option("PATH")] = None,
    seed: Number = None,
    out: Folder = None,
    device: Device = "auto",
    threads: Threads = None,
    log: Annotated[Literal["csv", "tensorboard"] | None, option("FORMAT")] = None,
    dry_run: Flag = False,
) -> None:
    """Train a model. With no option: the smallest preset on embedded data, in seconds.

    Args:
        target: sr (super-resolution) or vessels (retinal vessels); or the configuration of an
            experiment, such as experiments/controls/runs/counts.yml; with --resume, of the run.
        model: flow (the default) or baseline (factorised).
        preset: smoke (the default), cpu, gpu, paper, or another of cnf/replication/presets, such
            as photos.
        overrides: one value, such as training.lr=1e-3 or data.train=drive; repeatable.
        minutes: budget in minutes; a short probe turns it into steps, once, at the start.
        steps: budget in steps.
        max_minutes: end this slice with a checkpoint after so many minutes.
        resume: go on with the run in this folder, with its configuration.
        start: fine-tune: begin with the weights of a name such as sr, or of the run in this folder,
            with its model, data, rate and budget; only what you say is changed. Your pictures:
            train --start sr --data DIR --minutes 10. With --preset only its model is taken. Or
            branch off a checkpoint, DIR/last.pt or DIR/step-N.pt, with its optimizer and its steps,
            which count in the budget.
        data: a folder of your own: photographs, or images/ and labels/ for vessels; the short form
            of --set data.train=folder:PATH. Its pictures are split into train, valid and test.
        seed: of weights, order, augmentation and noise; 0 by default, or a checkpoint's own.
        out: the run folder; runs/TASK-MODEL-PRESET-sSEED by default.
        log: write every validation, beside history.jsonl, as history.csv, or as event files for
            TensorBoard, into tensorboard/ of the run folder (pip install tensorboard).
        dry_run: print parameters, memory, steps and time from a short probe; keep nothing.
    """
    from cnf.replication import training
    from cnf.replication.training import resuming

    interrupts.work_begins()
    if max_minutes is not None and not max_minutes > 0:
        raise ConfigError(f"--max-minutes {max_minutes}: give a number above 0")
    _start(threads, device, "train --dry-run" if dry_run else "")
    if data is not None:
        overrides = _with_data(data, overrides)
    target = _checked_target(target, is_resumed=resume is not None)
    if resume is not None:
        if dry_run or out is not None or start is not None:
            raise ConfigError(
                "--resume goes with none of --dry-run, --out and --start: leave those out"
            )
        folder, config = resume, resuming.asked(resume, target, model, preset, overrides)
        if config is not None and resuming.sets_budget(overrides):
            steps, minutes = config.training.steps, config.training.minutes
    elif dry_run and start is not None:
        raise ConfigError("--dry-run measures a run from its first step: leave --start out")
    else:
        config, name = _new_run(target, model, preset, start, overrides, device)
        if dry_run:
            from cnf.replication.training import cost

            print(cost.estimate(training.with_budget(config, minutes, steps), seed or 0, device))
            return
        folder = out or Path(f"runs/{name}-s{resuming.first_seed(seed, start)}")
    training.train(
        config,
        folder,
        minutes=minutes,
        steps=steps,
        max_minutes=max_minutes,
        resume=resume is not None,
        seed=seed,
        start=start,
        device=device,
        log=log,
    )


def _with_data(folder: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """The overrides, with a reader's folder as training data."""
    if any(override.startswith("data.train=") for override in overrides):
        raise ConfigError(f"--data {folder} and --set data.train contradict each other: give one")
    return (*overrides, f"data.train={json.dumps(f'folder:{folder.as_posix()}')}")


def _checked_target(target: str | None, is_resumed: bool) -> str | None:
    """What is trained: a task, or a file of a configuration."""
    from cnf.replication.tasks import TASKS

    if target is not None and target.endswith(".yml"):
        return Path(target).as_posix()  # runs keep their file's name, also from Windows
    if target is not None and target not in TASKS and not is_resumed:
        raise ConfigError(f"'{target}': give sr, vessels, or a file FILE.yml")
    return target


def _new_run(
    target: str | None,
    model: str | None,
    preset: str | None,
    start: Path | None,
    overrides: Sequence[str],
    device: str,
) -> tuple[Any, str]:
    """The configuration of a run that begins, and its name."""
    from cnf.replication import run_folder, training
    from cnf.replication.config import load_config, preset_of
    from cnf.replication.training import onward

    is_file = target is not None and target.endswith(".yml")
    if is_file and (model or preset):
        raise ConfigError(f"{target} says which model it is of: leave --model and --preset out")
    if start is not None and not is_file:
        config = onward.config_from(start, target, model, preset, overrides)
    elif target is None:
        raise ConfigError("train needs sr or vessels, unless it goes on with --resume DIR")
    else:
        source = target if is_file else preset_of(target, model or "flow", preset or "smoke")
        config = load_config(source, overrides)
    if not any(override.startswith("training.precision=") for override in overrides):
        config = training.with_fast_precision(config, device)
    name = run_folder.name_of(config.preset)
    if start is not None and start.suffix != ".pt" and not (is_file or model or preset):
        name += "-tuned"  # beside the run of this preset from its first step
    return config, name


def evaluate(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    options: Annotated[Any, tyro.conf.OmitArgPrefixes, _options_of("scored.options")],
    on: Text = None,
    split: Annotated[Literal["train", "valid", "test"], option()] = "test",
    stress: Flag = False,
    figures: Flag = False,
    publish: Flag = False,
    name: Text = None,
    batch_size: Annotated[int, option("N")] = 50,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Score a trained model on an image set and write the values into its folder.

    Args:
        run: a run folder, or one of results/; or what needs no model: bicubic, second-observer,
            truth.
        on: the image set, see `python -m cnf data list`; by default the embedded one.
        split: train, valid or test (the default).
        stress: instead of scores, count what is not finite or out of range over many samples, on
            the embedded pictures and on pictures far from all data.
        figures: write pictures into the folder too.
        publish: copy the run into results/ first, weights as float16, score those, and write there;
            without it nothing in results/ changes.
        name: of the run in results/; by default that of its folder.
        batch_size: changes no number; 50 by default.
    """
    _start(threads, device, "evaluate")
    from cnf.replication import results
    from cnf.replication.evaluation import evaluate

    interrupts.work_begins()
    rows = evaluate.evaluate(
        run,
        on,
        split,
        stress=stress,
        figures=figures,
        publish=publish,
        name=name,
        batch_size=batch_size,
        device=device,
        **vars(options),
    )
    print(results.table(rows))


def sample(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="{sr,vessels,NAME,DIR}")],
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, option("PHOTO [PHOTO ...]")],
    options: Annotated[Any, tyro.conf.OmitArgPrefixes, _options_of("answers.sample")],
    threads: Threads = None,
) -> int:
    """Let a trained model answer for your own pictures: files and a contact sheet;
    for vessels also their probability, deviation, an overlay, and a table of area and components.

    Args:
        run: sr or vessels, the released flows; sr-baseline or vessels-baseline, the released
            factorised models, which have the better single answer; the name of another run of
            results/; or a run folder.
        pictures: files of any size (PNG, JPEG, WebP, TIFF, ...), or folders of them, in which what
            cannot be used is skipped, listed at the end, and makes the exit code 1;
            super-resolution doubles them. Transparency, grey and colour profile are kept, EXIF
            orientation is respected; of 16 bits a channel, the mean is given with 16.
    """
    _start(threads, options.device, "sample")
    from cnf.replication.answers import sample as sampling

    interrupts.work_begins()
    skipped = None
    try:
        paths = sampling.sample(run, pictures, **vars(options))
    except sampling.SkippedError as error:
        paths, skipped = error.paths, error
    if str(options.json) != "-":
        print("\n".join(map(str, paths)), flush=True)
    if skipped:
        print(skipped, file=sys.stderr)
    return int(skipped is not None)


def export(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="{sr,vessels,NAME,DIR}")],
    out: Annotated[Path | None, option("FILE.onnx")] = None,
    hub: Folder = None,
    threads: Threads = None,
) -> None:
    """Write a model as two ONNX graphs, FILE-sample.onnx and FILE-log-prob.onnx, which run without
    PyTorch and without this package at any size, and compare both with PyTorch.

    Args:
        run: as for sample; baselines, too: sr-baseline, vessels-baseline.
        out: by default model.onnx.
        hub: instead, write a folder that can be uploaded to a model hub as it is: weights,
            configuration, model card, and the graphs.
    """
    _start(threads, "cpu", "export")
    from cnf.replication.answers import export

    interrupts.work_begins()
    if out is not None and hub is not None:
        raise ConfigError("--out and --hub contradict each other: give one")
    lines = export.hub(run, hub) if hub else export.export(run, out or Path("model.onnx"))
    print("\n".join(lines))


def data(
    action: Annotated[Literal["list", "verify", "prepare"], tyro.conf.Positional],
    name: Annotated[str | None, tyro.conf.Positional, option("[SET]")] = None,
) -> None:
    """Image sets: what is there, whether every picture is right, how to get what is missing.

    Args:
        action: list them; verify their pixels against data/registry.json; prepare: download what
            may be downloaded.
        name: only this set.
    """
    from cnf.replication.data import inventory

    interrupts.work_begins()
    if action == "list" and name is not None:
        raise ConfigError(f"data list shows every set: leave '{name}' out")
    lines = inventory.list_sets() if action == "list" else getattr(inventory, action)(name)
    print("\n".join(lines))


def models() -> None:
    """The released models: names, task, size, scores, terms, and which are installed."""
    from cnf.replication.cards import listing

    interrupts.work_begins()
    print("\n".join(listing.lines()))


def results_(
    action: Annotated[
        Literal["table", "show", "how", "claims", "audit", "readme"], tyro.conf.Positional
    ],
    words: Annotated[tuple[str, ...], tyro.conf.Positional, option("[WORD ...]")] = (),
    minutes: Minutes = None,
    everything: Annotated[bool, tyro.conf.FlagCreatePairsOff, option(name="all")] = False,
    csv: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """The numbers in results/.

    Args:
        action: table prints rows; show prints all that one says; how says which command gives a
            number again, what to expect, and which pictures it needs; claims prints the paper's
            numbers beside ours; audit computes rows again and exits with 1 if one differs; readme
            rewrites the tables of README.md, and the model cards.
        words: table: show rows that have them all in run, set, metric or id, such as sr-flow set5
            psnr; or the name of a table of the replication report, such as vessel-bits. show,
            audit: ids of rows; all rows by default. how: ids, or numbers as they are printed, such
            as 0.0551.
        minutes: audit: about how long it may take, cheapest rows first; 10 by default. Rows that
            are named are computed however long they take.
        everything: audit: every row, however long it takes.
        csv: table: as comma-separated values.
    """
    from cnf.replication import results
    from cnf.replication.results import claims, report

    interrupts.work_begins()
    _check_results_options(action, words, minutes, everything, csv)
    match action:
        case "table":
            print(report.table(words, csv))
        case "show":
            rows = results.read_rows()
            rows_to_show = [row for word in words for row in results.find_rows(word, rows)] or rows
            print("\n\n".join(map(results.show, rows_to_show)))
        case "how":
            print(_how_to_get(words))
        case "claims":
            print(claims.text())
        case "readme":
            require_checkout("results readme")
            from cnf.replication.cards import card

            report.readme()
            card.write_cards()
        case "audit":
            return _audit(words, minutes, everything)
    return 0


def _check_results_options(
    action: str, words: Sequence[str], minutes: float | None, everything: bool, csv: bool
) -> None:
    """Raise ConfigError for options that `results` does not read, or that contradict each other."""
    if action in ("claims", "readme") and words:
        raise ConfigError(f"results {action} takes no row: leave '{words[0]}' out")
    if action == "how" and not words:
        raise ConfigError("results how needs the id of a row, or a number as it is printed")
    if action != "audit" and (minutes is not None or everything):
        raise ConfigError(f"--minutes and --all are for results audit, not for {action}")
    if csv and action != "table":
        raise ConfigError(f"--csv is for results table, not for {action}")
    if everything and minutes is not None:
        raise ConfigError("--all and --minutes contradict each other: give one")
    if minutes is not None and not minutes >= 0:
        raise ConfigError(f"--minutes {minutes}: give 0 or more")


def _how_to_get(words: Sequence[str]) -> str:
    """How these rows, or numbers as they are printed, are computed again."""
    from cnf.replication import results
    from cnf.replication.results import how, report

    rows = results.read_rows()
    shown = {row.id for row in report.README.cells(rows).values()}
    return "\n\n".join(how.text(results.find_rows(word, rows), first=shown) for word in words)


def _audit(words: Sequence[str], minutes: float | None, everything: bool) -> int:
    """Compute rows again; 1 if one differs."""
    _start(None, "cpu")
    from cnf.replication import audit

    limit = None if everything else audit.MINUTES if minutes is None else minutes
    checks = audit.audit(only=words, minutes=limit)
    print(audit.report(checks, named=bool(words)))
    return int(any(check.status == "differs" for check in checks))


def _start(threads: int | None, device: str, alone: str = "") -> None:
    """Set the number of CPU threads. Raises TrainingError for a device that does not exist, and
    ConfigError for several processes of a command that runs `alone`, which is its name."""
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if alone and launched > 1:
        raise ConfigError(
            f"{alone} runs in one process, {launched} were launched: start it with "
            f"python -m cnf {alone}"
        )
    import torch

    from cnf.replication.distributed import choose_device

    choose_device(device)
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: give 1 or more")
    if threads is not None or device == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(threads or 1)


def start() -> None:
    """Write the file of the lessons: a class to write in each of them (start --help says more)."""
    raise ConfigError("start runs without the laboratory: python -m cnf start")


def check() -> None:
    """Say which classes of that file are right, what is wrong and why (check --help says more)."""
    raise ConfigError("check runs without the laboratory: python -m cnf check")


# `cnf.__main__` runs start and check itself: here they are in the list of commands
ALL = (start, check, train, evaluate, sample, export, models, data, results_)
COMMANDS = {f.__name__.rstrip("_"): f for f in ALL}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for an expected error, 130 if interrupted.
    If several processes run it, one of them prints the error."""
    words, text = sys.argv[1:] if arguments is None else arguments, ""
    exception: BaseException | None = None
    prog = "cnf" if Path(sys.argv[0]).stem == "cnf" else "python -m cnf"
    try:
        for word in words:
            if word.startswith("--no-") and (on := word.replace("no-", "", 1)) in words:
                raise ConfigError(f"{on} and {word} contradict each other: give one")
        code = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog=prog, description=__doc__, args=words or ["--help"]
        )
        sys.stdout.flush()
    except CnfError as error:
        code, text, exception = 2, "error: " + " ".join(str(error).split()), error
    except KeyboardInterrupt as error:
        code, text, exception = interrupts.CODE, str(error) or "interrupted", error
    except BrokenPipeError as error:  # the reader of the output has ended, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code, exception = 128 + 13, error  # as a shell says SIGPIPE
    except Exception as error:
        code, exception = 1, error
        if interrupts.received():  # what was being loaded made another error of it
            code, text = interrupts.CODE, "interrupted"
    distributed = sys.modules.get("cnf.replication.distributed")  # if anything needed torch
    if text and (distributed is None or distributed.should_print(exception)):
        print(text, file=sys.stderr, flush=True)
    if distributed is not None:
        distributed.end_group(exception)
    if code == 1 and exception:
        raise exception
    return code or 0
