"""A picture of a run: success on held-out tasks against training step."""

from pathlib import Path

from agentgym_train.runlog import read_metrics


def plot_success(folder: Path, title: str) -> Path:
    """Write `success.png` into a run's folder, with 95 % Wilson bands; returns its path.

    Raises ValueError where nothing was evaluated yet.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metrics = read_metrics(folder)
    held_out = [record for record in metrics if "val/success_rate" in record]
    if not held_out:
        raise ValueError(f"{folder} has no evaluations to plot")
    training = [record for record in metrics if "episode/success_rate" in record]
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    axes.plot(
        [record["step"] for record in training],
        [record["episode/success_rate"] for record in training],
        color="0.75",
        linewidth=1,
        label="training tasks, while learning",
    )
    steps = [record["step"] for record in held_out]
    axes.plot(
        steps,
        [record["val/success_rate"] for record in held_out],
        marker="o",
        color="tab:blue",
        label="held-out tasks, 95 % interval",
    )
    axes.fill_between(
        steps,
        [record["val/success_low"] for record in held_out],
        [record["val/success_high"] for record in held_out],
        color="tab:blue",
        alpha=0.2,
        linewidth=0,
    )
    axes.set(xlabel="training step", ylabel="success rate", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", frameon=False)
    path = folder / "success.png"
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return path
