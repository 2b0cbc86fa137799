"""In what a run multiplies large matrices: as asked, or as the processor is made for."""
from minigrad.kernels import bfloat16


def settled(run):
    """Choose the precision of a run, all ranks alike.

    Where nothing is asked it is bfloat16 if every processor is faster with it and multiplies as it
    should, and the products are large; float32 else, and in a run of an earlier version.

    Returns
    -------
    precision : "float32" or "bfloat16"
    slow : list of str
        What is not as fast as it could be, in words.
    """
    asked, tokens = run.config.train.precision, run.config.train.batch_tokens
    large = tokens * run.config.model.d_model ** 2 >= bfloat16.LARGE
    if asked == "float32" or asked == "auto" and (run.step or not large):
        return "float32", []
    obstacles = [x for x in run.way.world.collect(bfloat16.obstacle()) if x]
    if not obstacles:
        return "bfloat16", []
    if asked == "bfloat16":
        return asked, ["matrices are rounded to bfloat16, and then multiplied in float32, because "
                       f"{obstacles[0]}"]
    expected = bfloat16.is_fast()
    return "float32", [f"products are in float32, because {obstacles[0]}"] * expected
