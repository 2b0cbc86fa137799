"""Loggers that the user has installed, behind one function of a step and numbers."""
from gpt.settings import ConfigError

LOGGERS = ("tensorboard", "wandb", "trackio")


def make_logger(name, folder):
    """Return `log(step, **numbers)`: to the logger of that name, or to nowhere."""
    if name is None:
        return lambda step, **numbers: None
    try:
        return MAKERS[name](folder)
    except ImportError:
        raise ConfigError(f"--log {name} needs the package: pip install {name}") from None


def tensorboard(folder):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        from tensorboard.summary import Writer

        writer = Writer(str(folder / "tensorboard"))
        add = writer.add_scalar
    else:
        add = SummaryWriter(str(folder / "tensorboard")).add_scalar

    def log(step, **numbers):
        for key, value in numbers.items():
            add(key, value, step)
    return log


def wandb(folder):
    import wandb
    wandb.init(project="minigrad", name=folder.name, dir=str(folder))
    return lambda step, **numbers: wandb.log(numbers, step=step)


def trackio(folder):
    import trackio
    trackio.init(project="minigrad", name=folder.name)
    return lambda step, **numbers: trackio.log(numbers, step=step)


MAKERS = {"tensorboard": tensorboard, "wandb": wandb, "trackio": trackio}
