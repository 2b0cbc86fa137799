"""Answers to the exercises on several processes, as those in `exercise_answers`."""

AHEAD = "min(n_stages - stage, n_micro_batches)"

WRONG = {
    "schedule": [
        (AHEAD, "n_micro_batches"),
        (AHEAD, "min(n_stages, n_micro_batches)"),
        (AHEAD, "1"),
        (AHEAD, "min(stage + 1, n_micro_batches)"),
        (AHEAD, "n_stages - stage - 1"),
        (AHEAD, "n_stages - stage"),
        ("        if i + ahead < n_micro_batches:\n    ", ""),
        ("i + ahead < n_micro_batches", "i + ahead < n_micro_batches - 1"),
        ('passes.append(("backward", i))', 'passes.append(("backward", n_micro_batches - 1 - i))'),
        ('passes.append(("backward", i))', 'passes.append(("back", i))'),
        ('passes.append(("forward", i))', 'passes.append(("forward", 0))'),
        ("return passes", "return passes + passes[-1:]"),
        ("return passes", "return sorted(passes, key=lambda each: each[1])"),
    ],
}

RIGHT = {
    "schedule": [
        ("return passes", "yield from passes"),
        ("return passes", "return [list(each) for each in passes]"),
        ('        passes.append(("backward", i))\n        if i + ahead < n_micro_batches:\n'
         '            passes.append(("forward", i + ahead))',
         '        passes += [("backward", i), ("forward", i + ahead)]\n'
         '    passes = [each for each in passes if each[1] < n_micro_batches]'),
    ],
}
