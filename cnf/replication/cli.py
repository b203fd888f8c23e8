"""Conditional normalizing flows: train, evaluate, sample, and the data and numbers behind them.

Every command works on a fresh machine: without a named image set it uses pictures that come with
the package. Other sets are looked for in $CNF_DATA, else in data/.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cnf.errors import CnfError, ConfigError


def _option(metavar: str):
    """A value that may be left out; its help text says what stands for it."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Experiment = Annotated[Literal["sr", "vessels"], tyro.conf.Positional]
Text = Annotated[str | None, _option("NAME")]
Number = Annotated[int | None, _option("N")]
Real = Annotated[float | None, _option("X")]
Minutes = Annotated[float | None, _option("M")]
Folder = Annotated[Path | None, _option("DIR")]
Device = Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(help_behavior_hint="")]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
Pairs = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(name="set", metavar="KEY=VALUE", help_behavior_hint=""),
]


def train(
    experiment: Experiment,
    model: Annotated[
        Literal["flow", "baseline", "autoregressive"] | None,
        _option("{flow,baseline,autoregressive}"),
    ] = None,
    preset: Text = None,
    overrides: Pairs = (),
    minutes: Minutes = None,
    steps: Number = None,
    max_minutes: Minutes = None,
    resume: Folder = None,
    start: Folder = None,
    seed: Number = None,
    out: Folder = None,
    device: Device = "auto",
    threads: Number = None,
    dry_run: Flag = False,
) -> None:
    """Train a model. With no option: the smallest preset on embedded data, in seconds.

    Args:
        experiment: sr (super-resolution) or vessels (retinal vessels).
        model: flow (the default), its factorised baseline, or autoregressive (vessels only).
        preset: smoke (the default), cpu, gpu or paper.
        overrides: one value, such as training.lr=1e-3 or data.train=drive; repeatable.
        minutes: budget in minutes; a short probe turns it into steps, once, at the start.
        steps: budget in steps.
        max_minutes: end this slice with a checkpoint after so many minutes.
        resume: go on with the run in this folder, with its configuration.
        start: begin with the weights of the run in this folder, to train on with other data or at
            another rate; or branch off a checkpoint of it, DIR/last.pt or DIR/step-N.pt, with its
            optimizer and its steps, which count in the budget. The model must be the same.
        seed: of weights, order, augmentation and noise; 0 by default, or a checkpoint's own.
        out: the run folder; runs/EXPERIMENT-MODEL-PRESET-sSEED by default.
        device: auto (the default: CUDA if there is one), cpu or cuda.
        threads: CPU threads; 1 by default on a CPU.
        dry_run: print parameters, memory, steps and time from a short probe; keep nothing.
    """
    from cnf.config import load_config
    from cnf.replication import run_folder, training

    if max_minutes is not None and not max_minutes > 0:
        raise ConfigError(f"--max-minutes {max_minutes}: give a number above 0")
    _threads(threads, device)
    config, folder = None, resume
    if resume is not None:
        if dry_run or out is not None or start is not None:
            raise ConfigError(
                "--resume goes with none of --dry-run, --out and --start: leave those out"
            )
        stored = run_folder.read_config(resume)
        if stored.experiment != experiment:
            raise ConfigError(f"{resume} is a run of {stored.experiment}, not of {experiment}")
        if model or preset or overrides:
            config = load_config(
                experiment, model or stored.family, preset or stored.preset, list(overrides)
            )
        if any(o.startswith(("training.steps=", "training.minutes=")) for o in overrides):
            steps, minutes = config.training.steps, config.training.minutes
    else:
        model, preset = model or "flow", preset or "smoke"
        config = load_config(experiment, model, preset, list(overrides))
        folder = out or Path(f"runs/{experiment}-{model}-{preset}-s{seed or 0}")
    if dry_run:
        _one_process("train --dry-run")
        from cnf.replication import cost

        print(cost.estimate(training.with_budget(config, minutes, steps), seed or 0, device))
        return
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
    )


def evaluate(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    on: Text = None,
    split: Annotated[
        Literal["train", "valid", "test"], tyro.conf.arg(help_behavior_hint="")
    ] = "test",
    full: Flag = False,
    stress: Flag = False,
    figures: Flag = False,
    publish: Flag = False,
    name: Text = None,
    limit: Number = None,
    seed: Annotated[int, _option("N")] = 0,
    draws: Annotated[int, _option("N")] = 1,
    samples: Number = None,
    importance: Annotated[int, _option("N")] = 0,
    temperature: Real = None,
    round_x: Flag = False,
    no_round_x: Flag = False,
    threshold: Real = None,
    threshold_from: Folder = None,
    batch_size: Annotated[int, _option("N")] = 50,
    device: Device = "auto",
    threads: Number = None,
) -> None:
    """Score a trained model on an image set and write the values into its folder.

    Args:
        run: a run folder, or one of results/; or what needs no model: bicubic, second-observer,
            truth.
        on: the image set, see `python -m cnf data list`; by default the embedded one.
        split: train, valid or test (the default).
        full: super-resolution: for x rounded and not, bits, PSNR and SSIM under two protocols at
            five temperatures; power spectra, gradients, consistency, and how far samples can be
            trusted. Vessels: F of the likeliest sample, calibration, connectedness, area, pieces
            and crossings, the second observer. In minutes a set, with what curves are drawn from.
        stress: instead of scores, count what is not finite or out of range over many samples, on
            the embedded pictures and on pictures far from all data.
        figures: write pictures into the folder too.
        publish: copy the run into results/ first, weights as float16, score those, and write there;
            without it nothing in results/ changes.
        name: of the run in results/; by default that of its folder.
        limit: only the first N pictures.
        seed: of the noise; 0 by default.
        draws: noise draws a picture; 1 by default.
        samples: model samples for means and marginals; 16 or 32 by default, 0 for small patches.
            With --full 32 (sr) or 64 (vessels) by default, and 0 for bits alone.
            With --stress: samples of each image set, 2000 by default.
        importance: samples of an importance-weighted bound beside the plain one; none by default.
        temperature: of the single sample; 0.8 (sr) or 1 (vessels) by default.
        round_x: round the low-resolution input to 8 bits; by default as in training.
        no_round_x: do not round it.
        threshold: of vessel probabilities, chosen on a validation split; by default the best on
            that of the set, unless the model trained on it.
        threshold_from: a run that did not train on the validation split, of the same kind: its
            best threshold there is used.
        batch_size: changes no number; 50 by default.
        device: auto (the default: CUDA if there is one), cpu or cuda.
        threads: CPU threads; 1 by default on a CPU.
    """
    _one_process("evaluate")
    _threads(threads, device)
    from cnf.replication import evaluate, results

    if round_x and no_round_x:
        raise ConfigError("--round-x and --no-round-x contradict each other: give one")
    rows = evaluate.evaluate(
        run,
        on,
        split,
        full=full,
        stress=stress,
        figures=figures,
        publish=publish,
        name=name,
        limit=limit,
        seed=seed,
        draws=draws,
        samples=samples,
        importance=importance,
        temperature=temperature,
        round_x=round_x if round_x or no_round_x else None,
        threshold=threshold,
        threshold_from=threshold_from,
        batch_size=batch_size,
        device=device,
    )
    print(results.table(rows))


def sample(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="{sr,vessels,NAME,DIR}")],
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, _option("PHOTO [PHOTO ...]")],
    num: Number = None,
    temperature: Real = None,
    many: Number = None,
    mean: Flag = False,
    uncertainty: Flag = False,
    fov: Annotated[Path | None, _option("MASK")] = None,
    fit: Flag = False,
    no_fit: Flag = False,
    out: Annotated[Path, _option("DIR")] = Path("samples"),
    seed: Annotated[int, _option("N")] = 0,
    tile: Annotated[int | None, _option("SIDE")] = None,
    precision: Annotated[Literal["fp32", "bf16"], tyro.conf.arg(help_behavior_hint="")] = "fp32",
    overwrite: Flag = False,
    device: Device = "auto",
    threads: Number = None,
) -> None:
    """Let a trained flow draw its answers for your own pictures: PNG files and a contact sheet;
    for vessels also their probability, deviation, an overlay, and a table of area and components.

    Args:
        run: sr or vessels, for the trained flow of the repository (see cnf/build.py); the name
            of another run of results/; or a run folder.
        pictures: 8-bit files of any size (PNG, JPEG, WebP, ...); super-resolution doubles them.
            Transparency, grey and colour profile are kept, EXIF orientation is respected.
        num: samples a picture; 4 by default, 16 for vessels.
        temperature: of the samples, 0 or more; 1 samples the model. 0.8 by default, 1 for vessels.
        many: samples at temperature 1 for mean, probability, deviation and table; 32 by default,
            for vessels 16 or those of --num if they are more.
        mean: write the mean of these samples too; vessels always get it, as their probability.
        uncertainty: write that mean and the deviation of the samples, as picture and as array;
            vessels always get both.
        fov: vessels: a mask of the field of view, or a folder of masks named like the pictures;
            without it the field of view is found in the picture, and what was found is printed.
        fit: vessels: resize the picture for the model so that the field of view is as wide as in
            the training data, and the answers back. By default if it differs by more than a
            quarter.
        no_fit: never resize it.
        out: folder for the files; samples by default.
        seed: of the noise; 0 by default.
        tile: draw in tiles of SIDE x SIDE pixels, which changes no sample and takes less memory; 0:
            in one pass. By default, results of more than 4 million pixels are drawn in tiles of
            1536, and a line says so.
        precision: fp32 (the default, as the scores are), or bf16: sooner on processors that have
            it, and the same samples but for a pixel in thousands.
        overwrite: replace files of an earlier call; else they stop this one before it draws.
        device: auto (the default: CUDA if there is one), cpu or cuda.
        threads: CPU threads; 1 by default on a CPU.
    """
    _one_process("sample")
    _threads(threads, device)
    from cnf.replication import sampling

    if fit and no_fit:
        raise ConfigError("--fit and --no-fit contradict each other: give one")
    for path in sampling.sample(
        run,
        pictures,
        num=num,
        temperature=temperature,
        many=many,
        mean=mean,
        uncertainty=uncertainty,
        fov=fov,
        fit=fit if fit or no_fit else None,
        out=out,
        seed=seed,
        tile=tile,
        device=device,
        precision=precision,
        overwrite=overwrite,
    ):
        print(path)


def data(
    action: Annotated[Literal["list", "verify", "prepare"], tyro.conf.Positional],
    name: Annotated[str | None, tyro.conf.Positional, _option("[SET]")] = None,
) -> None:
    """Image sets: what is there, whether every picture is right, how to get what is missing.

    Args:
        action: list them; verify their pixels against data/registry.json; prepare: download what
            may be downloaded.
        name: only this set.
    """
    from cnf.replication.data import inventory

    if action == "list":
        if name is not None:
            raise ConfigError(f"data list shows every set: leave '{name}' out")
        lines = inventory.list_sets()
    else:
        lines = {"verify": inventory.verify, "prepare": inventory.prepare}[action](name)
    print("\n".join(lines))


def results_(
    action: Annotated[
        Literal["table", "show", "how", "claims", "audit", "readme"], tyro.conf.Positional
    ],
    words: Annotated[tuple[str, ...], tyro.conf.Positional, _option("[WORD ...]")] = (),
    minutes: Minutes = None,
    everything: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="all", help_behavior_hint="")
    ] = False,
) -> int:
    """The numbers in results/.

    Args:
        action: table prints rows; show prints all that one says; how says which command gives a
            number again, what to expect, and which pictures it needs; claims prints the paper's
            numbers beside ours; audit computes rows again and exits with 1 if one differs; readme
            rewrites the tables of README.md, and the model cards.
        words: table: show rows that have them all in run, set, metric or id, such as sr-flow set5
            psnr. show, audit: ids of rows; all rows by default. how: ids, or numbers as they are
            printed, such as 0.0551.
        minutes: audit: about how long it may take, cheapest rows first; 10 by default. Rows that
            are named are computed however long they take.
        everything: audit: every row, however long it takes.
    """
    from cnf.replication import claims, report, reproduce, results

    if action in ("claims", "readme") and words:
        raise ConfigError(f"results {action} takes no row: leave '{words[0]}' out")
    if action == "how" and not words:
        raise ConfigError("results how needs the id of a row, or a number as it is printed")
    if action != "audit" and (minutes is not None or everything):
        raise ConfigError(f"--minutes and --all are for results audit, not for {action}")
    if everything and minutes is not None:
        raise ConfigError("--all and --minutes contradict each other: give one")
    if minutes is not None and not minutes >= 0:
        raise ConfigError(f"--minutes {minutes}: give 0 or more")
    match action:
        case "table":
            print(results.table(results.matching(results.read(), words)))
        case "show":
            rows = results.read()
            found = [row for word in words for row in results.find(word, rows)] or rows
            print("\n\n".join(map(results.show, found)))
        case "how":
            rows = results.read()
            print("\n\n".join(reproduce.text(results.find(word, rows)) for word in words))
        case "claims":
            print(claims.text())
        case "readme":
            report.readme()
            report.write_cards()
        case "audit":
            _threads(None, "cpu")
            limit = None if everything else reproduce.MINUTES if minutes is None else minutes
            checks = reproduce.audit(only=words, minutes=limit)
            print(reproduce.report(checks, named=bool(words)))
            return int(any(check.status == "differs" for check in checks))
    return 0


def _one_process(command: str) -> None:
    """Raise ConfigError if a launcher started several."""
    if _launched() > 1:
        raise ConfigError(
            f"{command} runs in one process, {_launched()} were launched: start it with "
            f"python -m cnf {command}"
        )


def _threads(threads: int | None, device: str) -> None:
    """Set the number of CPU threads; complain about a device that is not there."""
    import torch

    from cnf.replication.distributed import choose_device

    choose_device(device)
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: give 1 or more")
    if threads is not None or device == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(threads or 1)


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "data": data,
    "results": results_,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for an expected error, 130 if interrupted."""
    try:
        code = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="python -m cnf", description=__doc__, args=arguments
        )
    except CnfError as error:
        return _end("error: " + " ".join(str(error).split()), 2, error)
    except KeyboardInterrupt as interrupt:
        return _end(str(interrupt) or "interrupted", 130, interrupt)
    except Exception as error:
        _end("", 1, error)
        raise
    return _end("", code or 0)


def _end(text: str, code: int, error: BaseException | None = None) -> int:
    """Say how a command ended, once however many processes ran it; return its exit code."""
    if _launched() == 1:
        print(text, end="\n" if text else "", file=sys.stderr)
        return code
    from cnf.replication import distributed

    if text and distributed.speaks(error):
        print(text, file=sys.stderr, flush=True)
    distributed.leave(error)
    return code


def _launched() -> int:
    """How many processes `torchrun` or `accelerate launch` started."""
    return int(os.environ.get("WORLD_SIZE", 1))


if __name__ == "__main__":
    sys.exit(main())
