"""The pictures of From one process to many: what goes over the wire, what is kept, who waits."""
from drawing import BLUE, GREEN, INK, ORANGE, arrow, box, picture, text
from gpt.training.parallel.costs import MIXED, ZERO, state_bytes
from gpt.training.parallel.schedules import BACKWARD, FORWARD, SCHEDULES, WEIGHT, laid_out

COLOURS = BLUE, ORANGE, GREEN


def over_the_wire():
    """Draw a sum over three ranks: slices go to whose they are, are added, and go round."""
    parts, side = [], 56
    for column, title in enumerate(("each has all gradients", "each adds up its slice",
                                    "each has the sum")):
        left = 70 + 250 * column
        parts.append(text(left + 1.5 * side, 24, title, "middle"))
        for rank in range(3):
            top = 45 + 70 * rank
            if not column:
                parts.append(text(left - 12, top + 33, f"rank {rank}", "end"))
            for i in range(3):
                own = column == 2 or (column == 1 and i == rank)
                words = f"{'abc'[i]}{rank}" if not column else "&#931;" + "abc"[i] if own else ""
                parts += box(left + side * i, top, side, 50, words, COLOURS[i] if own or not column
                             else INK, 0.45 if own and column else 0.12 if not column else 0)
    for column, words in ((0, "2/3 of S"), (1, "2/3 of S")):
        left = 70 + 250 * column + 3 * side
        parts += [arrow(left + 8, 145, left + 76, 145), text(left + 41, 135, words, "middle"),
                  text(left + 41, 164, "sent", "middle")]
    parts.append(text(390, 275, "&#931;a = (a0 + a1) + a2, always in this order", "middle", BLUE))
    return picture(770, 290, "A sum over three ranks: a slice to each, then all slices to all",
                   parts)


def zero_memory():
    """Draw what 64 ranks keep of 7.5 billion parameters, each, without ZeRO and with its stages."""
    parts, names = [], ("weights", "gradients", "optimizer")
    for zero in ZERO:
        y, x = 40 + 46 * zero, 110.0
        parts.append(text(100, y + 20, f"ZeRO {zero}" if zero else "plain", "end"))
        for i, (width, colour) in enumerate(zip(MIXED, COLOURS)):
            share = 64 if zero >= 3 - i else 1
            length = 4.2 * 7.5 * width / share
            parts += box(x, y, length, 30, "", colour, 0.5)
            x += length
        found = state_bytes(7.5e9, 64, zero, MIXED) / 1e9
        parts.append(text(x + 10, y + 20, f"{found:.1f} GB"))
    for i, (name, colour) in enumerate(zip(names, COLOURS)):
        parts += [*box(110 + 150 * i, 12, 14, 14, "", colour, 0.5),
                  text(130 + 150 * i, 24, name, "start", colour)]
    return picture(700, 230, "What each of 64 ranks keeps of 7.5 billion parameters", parts)


def bubbles():
    """Draw three schedules of four stages and eight micro-batches, a pass taking a unit of time."""
    parts, unit = [], 15.5
    for row, (name, schedule) in enumerate(SCHEDULES.items()):
        top = 28 + 118 * row
        times = [*laid_out(schedule, 4, 8, lambda each: 2 if each.kind == BACKWARD else 1)]
        parts.append(text(60, top - 6, f"{name}: {max(x.ended for x in times):g} units"))
        for stage in range(4):
            parts.append(text(50, top + 24 * stage + 17, f"{stage}", "end"))
        for each, began, ended in times:
            colour = {FORWARD: BLUE, WEIGHT: GREEN}.get(each.kind, ORANGE)
            parts += box(60 + unit * began, top + 24 * each.stage, unit * (ended - began), 22,
                         each.micro_batch, colour, 0.35)
    return picture(60 + 34 * 16, 380, "GPipe, 1F1B and ZB-H1 on four stages: who waits, and when",
                   parts)


DRAWN_HERE = (over_the_wire, zero_memory, bubbles)
