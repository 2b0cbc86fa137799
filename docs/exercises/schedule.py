"""The order in which a stage of a pipeline works, 1F1B, written from nothing.

A net is cut into n_stages, a batch into n_micro_batches. List the passes of one stage in order,
("forward", i) and ("backward", i) of each micro-batch i once. All stages follow your order and wait
for each other; a backward pass takes twice as long. They should be done as soon as can be, and keep
few activations: stage s those of n_stages - s micro-batches, at most.
"""


def schedule(stage, n_stages, n_micro_batches):
    passes = []
    # your lines
    return passes
