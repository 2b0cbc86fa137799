"""The tiles of Intel's AMX: registers of 16 rows of 64 bytes, and the product of two of them.

The product of a tile of A and one of B (`pairs`) is added to 16 x 16 numbers of float32: 16 K
operations in one instruction. LLVM has these instructions in assembly alone. Where there are no
tiles nothing here runs.
"""
from llvmlite import ir

from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import INT, VOID, instruction, nothing
from minigrad.kernels.pairs import ROWS, assembly, no_twin, point

AHEAD = 4096                    # bytes: the memory is asked for B two steps before its use
SHAPES = 16                     # float32 that `shapes` takes


def address(builder, pointer):
    return builder.ptrtoint(pointer, INT)


# ---- before and after ----

@instruction(no_twin, nothing)
def configure(builder, shapes):
    """Say of what shape the tiles of this thread are, before the first is used: 16 x 64 bytes."""
    assembly(builder, "ldtilecfg ($0)", "r,~{memory}", VOID, address(builder, shapes))

@instruction(no_twin, nothing)
def release(builder):
    """Forget all tiles, so that the system need not keep them."""
    assembly(builder, "tilerelease", "~{memory}", VOID)

def write_shapes(out):
    """Write what `configure` reads, to 64 bytes: palette 1, and eight tiles as large as can be."""
    out[:] = 0
    out[0] = 1
    out[16:32:2] = 64                                # bytes of a row, of 16 bits each
    out[48:56] = ROWS


# ---- sums ----

PLACES = [(i, j) for i in range(2) for j in range(2)]

def loop_of(adds):
    """Write a loop over the steps of two strips, whose product are four tiles of sums.

    $0 and $1 point to the strips of A and B, $2 counts the steps. C begins at $4, its lower half at
    $5, its rows are $3 bytes apart, those of packed tiles $6, which is 64. Tiles 0 to 3 are sums,
    4 and 5 of A, 6 and 7 of B. Between products the memory is asked for B.
    """
    place = {(i, j): f"{64 * j}(${4 + i},$3,1)" for i, j in PLACES}
    name = {(i, j): f"%tmm{2 * i + j}" for i, j in PLACES}
    lines = [f"tileloadd {place[p]}, {name[p]}" if adds else f"tilezero {name[p]}" for p in PLACES]
    lines += ["1:"]
    lines += [f"tileloadd {1024 * j}($1,$6,1), %tmm{6 + j}" for j in range(2)]
    for i, j in PLACES:
        if j == 0:
            lines += [f"tileloadd {1024 * i}($0,$6,1), %tmm{4 + i}"]
        lines += [f"tdpbf16ps %tmm{6 + j}, %tmm{4 + i}, {name[i, j]}"]
        first = 8 * (2 * i + j)                      # of the 32 lines of a step
        lines += [f"prefetcht0 {AHEAD + 64 * line}($1)" for line in range(first, first + 8)]
    lines += ["add $$2048, $0", "add $$2048, $1", "dec $2", "jnz 1b"]
    lines += [f"tilestored {name[p]}, {place[p]}" for p in PLACES]
    return "; ".join(lines)

def loop(adds):
    """Make multiply(a, b, steps, c, ldc): set 32 x 32 numbers of C to the product of two strips,
    or add it; ldc float32 lie between two rows."""
    @instruction(no_twin, nothing)
    def multiply(builder, a, b, steps, c, ldc):
        begins = address(builder, a), address(builder, b), steps
        upper = address(builder, c)
        lower = address(builder, point(builder, c, builder.mul(ldc, INT(ROWS))))
        ldc_bytes = builder.mul(ldc, INT(4))
        moved = ir.LiteralStructType([INT] * 3)      # the loop moves the first three
        constraints = "=&r,=&r,=&r,r,r,r,r,0,1,2,~{memory},~{flags}"
        others = ldc_bytes, upper, lower, INT(64)
        assembly(builder, loop_of(adds), constraints, moved, *others, *begins)
    return multiply

set_product, add_product = loop(False), loop(True)

@helper
def multiply(a, b, n_steps, c, ldc, add, ahead):
    """Set 32 x 32 numbers of C to the product of two strips, or add it; `ahead` is not used."""
    if add:
        add_product(a, b, n_steps, c, ldc)
    else:
        set_product(a, b, n_steps, c, ldc)
