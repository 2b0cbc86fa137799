"""The tiles of Intel's AMX: registers of 16 rows of 64 bytes, and the product of two of them.

A tile of A holds 16 rows of 32 numbers of bfloat16. One of B holds 16 pairs of k by 16 columns, the
two numbers of a pair side by side. The product of two is added to 16 x 16 numbers of float32: 16 K
operations in one instruction. LLVM has these instructions in assembly alone. Where there are no
tiles nothing here runs.
"""
from llvmlite import binding, ir

from minigrad.kernels.llvm import (
    FLOAT, I32, INT, VOID, instruction, nothing, read, transposed)

ROWS = 16                       # of a tile
TILE = 256                      # float32 that are as large as a tile
STRIP = 2 * ROWS                # rows of A, or columns of B, that are multiplied at a time
STEP = 2 * TILE                 # of a strip: 32 numbers of each of its rows, two tiles
AHEAD = 4096                    # bytes: the memory is asked for B two steps before its use
SHAPES = 16                     # float32 that `shapes` takes

I16 = ir.IntType(16)
WORDS = ir.VectorType(I32, 16)                       # 16 pairs of bfloat16
HALVES = ir.VectorType(I16, 32)
FLOATS = ir.VectorType(FLOAT, 16)


def no_twin(*_):
    raise NotImplementedError("tiles are there for compiled kernels alone")

def assembly(builder, text, constraints, result, *args, pure=False):
    """Put instructions in their place; $0, $1 and so on stand for the results, then the args."""
    kind = ir.FunctionType(result, [x.type for x in args])
    return builder.asm(kind, text, constraints, args, not pure)

def read_assembly():
    """Let LLVM understand assembly; to be called before the first compilation."""
    binding.initialize_native_asmparser()

def address(builder, pointer):
    return builder.ptrtoint(pointer, INT)

def point(builder, pointer, n):
    """Point n numbers further; n may be a constant."""
    n = n if isinstance(n, ir.Value) else INT(n)
    return builder.gep(pointer, [n])


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


# ---- tiles of float32, rounded ----

def rounded(builder, x, y):
    """Round two vectors to bfloat16, to nearest even: those of x, then those of y."""
    return assembly(builder, "vcvtne2ps2bf16 $1, $2, $0", "=v,v,v", WORDS, x, y, pure=True)

def paired(builder, words):
    """Put the i-th number of the lower half and of the upper one side by side."""
    x = builder.bitcast(words, HALVES)
    places = [i // 2 + i % 2 * 16 for i in range(32)]
    mask = ir.VectorType(I32, 32)(places)
    return builder.bitcast(builder.shuffle_vector(x, x, mask), WORDS)

def tile_from(along_k, turned):
    """Make tile(source, stride, out): round 512 numbers to a tile.

    Where k is contiguous they are 16 lines of 32, else 32 lines of 16, two of which make pairs.
    The first is a tile of A, the second one of B, as it is; the other one if it is turned.
    """
    @instruction(no_twin, nothing)
    def tile(builder, source, stride, out):
        rows = []
        for i in range(ROWS):
            line = INT(i if along_k else 2 * i)
            first = point(builder, source, builder.mul(stride, line))
            second = point(builder, first, ROWS if along_k else stride)
            x, y = (read(builder, half, INT(0)) for half in (first, second))
            row = rounded(builder, x, y)
            rows.append(row if along_k else paired(builder, row))
        for i, row in enumerate(transposed(builder, rows) if turned else rows):
            place = builder.bitcast(point(builder, out, i * ROWS), WORDS.as_pointer())
            builder.store(row, place).align = 64
    return tile

a_along_k, b_along_k = tile_from(True, False), tile_from(True, True)
a_across_k, b_across_k = tile_from(False, True), tile_from(False, False)
