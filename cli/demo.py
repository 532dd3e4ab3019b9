"""``geo-p2p demo``: the whole job on a made-up town."""

from typing import Any

import click

from . import options, output


@click.command()
@click.argument("out_dir", default="geo-p2p-demo")
@options.seed
@options.overwrite
@options.json
def demo(out_dir: str, seed: int | None, overwrite: bool, as_json: bool) -> None:
    """Make a town, cut chips, train, translate, score and draw: minutes on two cores.

    Everything goes to OUT_DIR, ./geo-p2p-demo unless given. The last line is the path of a
    picture: what was seen, what is true, and what the model made of it, on held-out ground.
    """
    from geo_p2p.demo import DemoConfig, run_demo

    config = DemoConfig() if seed is None else DemoConfig(seed=seed)
    with output.stages() as report:
        made = run_demo(out_dir, config, overwrite=overwrite, progress=report)
    if as_json:
        output.show(made, as_json=True)
        return
    show_scores(made["scores"])
    output.show({"model": made["model"], "mosaic": made["mosaic"]}, as_json=False)
    click.echo(made["picture"])


def show_scores(scores: dict[str, dict[str, Any]]) -> None:
    """Print a row for each way to translate, a column for each score."""
    columns = ("l1", "rmse", "psnr", "ssim", "hp_l1")
    lines = [[name, *(output.text(row[key]) for key in columns)] for name, row in scores.items()]
    output.print_table(lines, header=["", *columns])
