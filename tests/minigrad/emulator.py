"""Run machine code for another processor, a Sapphire Rapids, in the emulator Bochs.

It runs in a process of its own (`run`), in which Numba compiles for that processor: nothing that is
compiled there may be called but in the emulator. Bochs knows AVX-512. In the place of instructions
that it does not know, those on AMX tiles, and of one that it gets wrong, a trap stands in the code:
`Beyond` does them in NumPy, as Intel's manual says (Software Developer's Manual, volume 2).
"""
import ctypes
import importlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd",
            "avx512vnni", "avx512bf16")

def settings(cpu, *features):
    """Return the environment in which Numba compiles for a processor."""
    return {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ",".join("+" + x for x in features)}

WITH_TILES = settings("sapphirerapids", *FEATURES, "amx-tile", "amx-bf16")
WITH_VECTORS = settings("znver4", *FEATURES)
SAPPHIRE_RAPIDS = 30                          # the number of this model in Bochs


def run(script, *args, env=WITH_TILES):
    """Run a script that compiles for such a processor, and return what it says."""
    done = subprocess.run([sys.executable, script, *args], env=os.environ | env, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def leave():
    """End such a script: the package does not leave in good order by itself."""
    sys.stdout.flush()
    os._exit(0)


# ---- the emulator ----

def imported():
    """Import bochscpu, whose wheel names two functions as only newer C libraries do."""
    try:
        return importlib.import_module("bochscpu._bochscpu")
    except ImportError:
        [package] = importlib.util.find_spec("bochscpu").submodule_search_locations
    sys.modules.pop("bochscpu", None)
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(package, folder / "bochscpu")
    [library] = (folder / "bochscpu").glob("_bochscpu.*.so")
    code = library.read_bytes()
    for name in b"sscanf", b"strtoull":
        newer = b"\0__isoc23_" + name + b"\0"
        code = code.replace(newer, b"\0" + name.ljust(len(newer) - 1, b"\0"))
    library.write_bytes(code)
    sys.path.insert(0, str(folder))
    return importlib.import_module("bochscpu._bochscpu")


PAGE, LARGE_PAGE = 4096, 2 << 20
TABLES, STACK, CODE = PAGE, 1 << 20, 2 << 20  # where they begin; the stack grows down
PRESENT, WRITABLE, LARGE = 1, 2, 0x80
REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
             "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
HALT = b"\xf4"


class Machine:
    """A processor and its memory, in which arrays lie that a function can be called with."""

    def __init__(self, size=64 << 20):
        self.bochs = imported()
        self.memory = np.zeros(size + PAGE, np.uint8)[:size + PAGE]
        self.memory = self.memory[-self.memory.ctypes.data % PAGE:][:size]
        self.used, self.known = CODE, {}
        self.choose_processor()
        self.session = self.bochs.Session()
        self.session.missing_page_handler = self.missing
        for page in range(0, size, PAGE):
            self.bochs.memory.page_insert(page, self.memory.ctypes.data + page)
        self.write_page_tables(size)
        self.traps, self.failure = {}, None
        self.beyond = Beyond(self)
        self.halt = self.put(HALT)

    def choose_processor(self):
        """Take the model that has this name; the package itself always takes another one."""
        self.library = ctypes.CDLL(self.bochs.__file__)
        find, choose = (getattr(self.library, name) for name in (
            "sim_get_param_enum", "_ZN14bx_param_num_c3setEl"))
        find.restype, choose.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int64)
        choose(find(b"cpu.model"), SAPPHIRE_RAPIDS)

    def write_page_tables(self, size):
        """Let each address mean itself: three tables, the last one of large pages."""
        words = self.memory.view(np.uint64)
        for level in range(2):
            table = TABLES + level * PAGE
            words[table // 8] = (table + PAGE) | PRESENT | WRITABLE
        first = (TABLES + 2 * PAGE) // 8
        pages = np.arange(0, size, LARGE_PAGE, np.uint64)
        words[first:first + len(pages)] = pages | np.uint64(PRESENT | WRITABLE | LARGE)

    def missing(self, address):
        raise MemoryError(f"there is no memory at {address:#x}")

    # ---- memory ----

    def take(self, n_bytes, align=64):
        """Return where so many free bytes begin."""
        place = -(-self.used // align) * align
        self.used = place + n_bytes
        if self.used > self.memory.size:
            raise MemoryError("the emulated memory is full")
        return place

    def put(self, data, align=64):
        """Copy bytes into memory and return their address."""
        place = self.take(len(data), align)
        self.memory[place:place + len(data)] = np.frombuffer(data, np.uint8)
        return place

    def copy(self, x, align=64):
        """Return an array like x, strides and all, in this memory, with NaN all around."""
        low, high = np.lib.array_utils.byte_bounds(x)
        place = self.take(high - low + 64, align)
        self.memory[place:self.used] = 0xFF
        offset = place + x.__array_interface__["data"][0] - low
        inside = np.ndarray(x.shape, x.dtype, self.memory, offset, x.strides)
        inside[...] = x
        return inside

    def address(self, x):
        return x.__array_interface__["data"][0] - self.memory.ctypes.data

    # ---- code ----

    def call(self, function, *args):
        """Call a function that Numba compiled, with integers and arrays in this memory."""
        unused = self.take(64)                # of what it returns, and of errors
        words = [unused, unused + 8, *(word for x in args for word in self.words(x))]
        registers = dict(zip(("rdi", "rsi", "rdx", "rcx", "r8", "r9"), words))
        stack = [self.halt, *words[6:]]
        top = STACK - (len(stack) + 1 & ~1) * 8 - 8   # 16 bytes align, less the return address
        self.memory[top:top + 8 * len(stack)] = np.array(stack, np.uint64).view(np.uint8)
        self.session.cpu.state = self.state(rip=function, rsp=top, **registers)
        hook = self.bochs.Hook()
        hook.hlt = lambda session, cpu: session.stop()
        hook.exception, hook.cache_cntrl = self.broken, self.trapped
        self.session.run([hook])
        if self.failure:
            raise self.failure
        status = self.session.cpu.rax & 0xFFFFFFFF
        assert status == 0, f"the function returned {status}"

    def words(self, x):
        """Return what Numba passes for an argument."""
        if isinstance(x, tuple):
            return [int(each) for each in x]
        if not isinstance(x, np.ndarray):
            return [int(x)]
        return [0, 0, x.size, x.itemsize, self.address(x), *x.shape,
                *(stride % 2**64 for stride in x.strides)]

    def state(self, **registers):
        """Return the state of a processor in 64-bit mode, with paging and all of AVX-512."""
        s = self.bochs.State()
        s.cr0, s.cr3, s.cr4, s.efer, s.xcr0 = 0x80000033, TABLES, 0x40620, 0x500, 0xE7
        s.mxcsr, s.mxcsr_mask, s.rflags = 0x1F80, 0xFFFF, 2
        s.cs = self.segment(8, 0xA09B)
        s.ds = s.ss = s.es = s.fs = s.gs = self.segment(16, 0xC093)
        for name, value in registers.items():
            setattr(s, name, value)
        return s

    def segment(self, selector, attributes):
        s = self.bochs.Segment()
        s.present, s.selector, s.base, s.limit, s.attr = True, selector, 0, 0xFFFFFFFF, attributes
        return s

    def broken(self, session, cpu, vector, error):
        self.failure = RuntimeError(f"exception {vector} at {session.cpu.rip:#x}")
        session.stop()

    def trapped(self, session, cpu, what):
        """Do the instruction in whose place the trap stood."""
        try:
            self.beyond.do(*self.traps[session.cpu.rip - len(TRAP)], session.cpu)
        except Exception as error:            # which must not pass through the emulator
            self.failure = error
            session.stop()

    # ---- object files ----

    def load(self, elf):
        """Put an object file into memory; return the addresses of its functions by name."""
        sections, symbols, relocations = parsed(elf)
        places = {}
        for i, (flags, data) in enumerate(sections):
            if flags & ALLOCATED:
                places[i] = self.put(data)
        found = {}
        for j, (name, section, value) in enumerate(symbols):
            found[j] = places[section] + value if section in places else self.outside(name)
        for section, offset, kind, j, addend in relocations:
            if section in places:
                self.relocate(places[section] + offset, kind, found[j] + addend)
        for i, (flags, data) in enumerate(sections):
            if flags & ALLOCATED and flags & EXECUTABLE:
                self.set_traps(places[i], len(data))
        return {name: found[j] for j, (name, section, _) in enumerate(symbols) if section in places}

    def relocate(self, place, kind, value):
        kinds = {1: ("<Q", 0), 24: ("<q", place), 2: ("<i", place), 4: ("<i", place)}
        layout, base = kinds[kind]
        data = struct.pack(layout, value - base)
        self.memory[place:place + len(data)] = np.frombuffer(data, np.uint8)

    def outside(self, name):
        """Return the address of a function that is none of the file's."""
        if name not in self.known:
            self.known[name] = self.put(OUTSIDE.get(name, UNDEFINED))
        return self.known[name]

    def set_traps(self, place, size):
        """Put a trap in the place of each instruction that is done here."""
        code = self.memory[place:place + size].tobytes()
        for at in range(size):
            if found := decoded(code[at:at + 10]):
                n_bytes, *self.traps[place + at] = found
                trap = TRAP.ljust(n_bytes, NOTHING)
                self.memory[place + at:place + at + n_bytes] = np.frombuffer(trap, np.uint8)


ALLOCATED, EXECUTABLE = 2, 4                  # flags of sections
SYMBOLS, RELOCATIONS = 2, 4                   # types of sections
TRAP, NOTHING = b"\x0f\x09", b"\x90"          # wbinvd, of which Bochs tells; nop
UNDEFINED, RETURN = b"\x0f\x0b", b"\xc3"      # ud2; ret
KEEP, COUNT, BACK = b"\x49\x89\xf8", b"\x48\x89\xd1", b"\x4c\x89\xc0"   # rdi to r8, rdx to rcx
OUTSIDE = {"NRT_incref": RETURN, "NRT_decref": RETURN,        # of arrays that nobody counts
           "memset": KEEP + COUNT + b"\x89\xf0\xf3\xaa" + BACK + RETURN,
           "memcpy": KEEP + COUNT + b"\xf3\xa4" + BACK + RETURN}


def parsed(elf):
    """Read an ELF object: sections (flags, data), symbols (name, section, value), relocations
    (section, offset, kind, symbol, addend)."""
    [begin], [count] = struct.unpack_from("<Q", elf, 0x28), struct.unpack_from("<H", elf, 0x3C)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, begin + 64 * i) for i in range(count)]
    sections, symbols, relocations = [], [], []
    for _, kind, flags, _, offset, size, link, info, *_ in headers:
        data = elf[offset:offset + size]
        sections.append((flags, data))
        if kind == SYMBOLS:
            names = elf[headers[link][4]:]
            for name, _, _, section, value, _ in struct.iter_unpack("<IBBHQQ", data):
                name = names[name:names.index(b"\0", name)].decode()
                symbols.append((name, section, value))
        if kind == RELOCATIONS:
            for place, what, addend in struct.iter_unpack("<QQq", data):
                relocations.append((info, place, what & 0xFFFFFFFF, what >> 32, addend))
    return sections, symbols, relocations


# ---- what Bochs does not do ----

# (opcode, prefix, whether there are registers alone) -> instruction
TILES = {(0x49, 0, False): "ldtilecfg", (0x49, 0, True): "tilerelease",
         (0x49, 3, True): "tilezero", (0x5C, 2, True): "tdpbf16ps",
         (0x4B, 3, False): "tileloadd", (0x4B, 2, False): "tilestored"}


def decoded(code):
    """Decode the instruction that code begins with: (bytes, name, operands); None for others."""
    if len(code) < 6:
        return None
    if code[0] == 0xC4 and code[1] & 0x9F == 0x82 and not code[2] & 0x84:
        return of_tiles(*code[1:5], code[5:])
    if code[0] == 0x62 and code[1] & 15 == 2 and code[2] & 0x87 == 7 and code[4] == 0x72:
        return of_conversion(*code[1:4], code[5])
    return None


def of_tiles(first, second, opcode, modrm, rest):
    """Decode C4, inverted bits that extend registers, a register and a prefix, the opcode, ModRM,
    perhaps SIB and an offset: the manual's 2.3.5 and 2.6."""
    kind, reg, rm = modrm >> 6, modrm >> 3 & 7, modrm & 7
    name = TILES.get((opcode, second & 3, kind == 3))
    if not name or kind == 3:
        return name and (5, name, (reg, rm, ~second >> 3 & 7))
    index, n_bytes = None, 5
    if rm == 4:
        index, rm, n_bytes = rest[0] >> 3 & 7, rest[0] & 7, 6
        index += 8 * (not first & 0x40)
    base, n = rm + 8 * (not first & 0x20), (0, 1, 4)[kind]
    offset = int.from_bytes(rest[n_bytes - 5:n_bytes - 5 + n], "little", signed=True)
    return n_bytes + n, name, (reg, base, index, offset)


def of_conversion(first, second, third, modrm):
    """Decode 62, three bytes of inverted bits, the opcode, ModRM: the manual's 2.7.1."""
    assert modrm >> 6 == 3 and third & 0xF7 == 0x40, "whole registers of 64 bytes are meant"
    target = (modrm >> 3 & 7) + 8 * (not first & 0x80) + 16 * (not first & 0x10)
    lower = (modrm & 7) + 8 * (not first & 0x20) + 16 * (not first & 0x40)
    upper = (~second >> 3 & 15) + 16 * (not third & 8)
    return 6, "vcvtne2ps2bf16", (target, lower, upper)


class Beyond:
    """Eight tiles of 16 rows of 64 bytes, and the instructions that Bochs does not do."""

    def __init__(self, machine):
        self.machine, self.tiles, self.count = machine, None, 0

    def do(self, name, operands, cpu):
        self.count += 1
        if name == "vcvtne2ps2bf16":
            self.convert(*operands)
        elif name == "ldtilecfg":
            self.configure(*self.places(operands, cpu))
        elif self.tiles is None:
            raise RuntimeError(f"{name} before ldtilecfg")
        elif name == "tilerelease":
            self.tiles = None
        elif name == "tilezero":
            self.tiles[operands[0]][:] = 0
        elif name == "tdpbf16ps":
            self.multiply(*operands)
        else:
            self.move(self.tiles[operands[0]], self.places(operands, cpu), name == "tileloadd")

    def convert(self, target, lower, upper):
        """Round two registers (Bochs takes the upper half from beyond the register)."""
        x, get, put = np.empty(32, np.float32), *(
            getattr(self.machine.library, f"cpu_{verb}_zmm") for verb in ("get", "set"))
        for register, half in (lower, x[:16]), (upper, x[16:]):
            get(0, register, ctypes.c_void_p(half.ctypes.data))
        words = (to_bfloat16(x) >> 16).astype(np.uint16)
        put(0, target, ctypes.c_void_p(words.ctypes.data))

    def places(self, operands, cpu):
        """Return where the 16 rows of a tile lie."""
        _, base, index, offset = operands
        first = getattr(cpu, REGISTERS[base]) + offset
        stride = getattr(cpu, REGISTERS[index]) if index is not None and index != 4 else 0
        return [(first + i * stride) % 2**64 for i in range(16)]

    def configure(self, place, *_):
        shapes = self.machine.memory[place:place + 64]
        assert shapes[0] == 1 and not shapes[1], "palette 1, from the first row"
        assert (shapes[16:32].view(np.uint16) == 64).all() and (shapes[48:56] == 16).all()
        self.tiles = np.zeros((8, 16, 64), np.uint8)

    def move(self, tile, places, loads):
        for row, place in zip(tile, places):
            there = self.machine.memory[place:place + 64]
            source, target = (there, row) if loads else (row, there)
            target[:] = source

    def multiply(self, sums, left, right):
        """C += A B: of each pair the first products are added up, and the second; then both."""
        a, b = (numbers(self.tiles[i]) for i in (left, right))        # (16, 32) each
        b = b.reshape(16, 16, 2)
        halves = np.zeros((2, 16, 16), np.float32)
        for k in range(16):
            for half in range(2):
                halves[half] += a[:, 2 * k + half, None] * b[k, :, half]
        self.tiles[sums].view(np.float32)[...] += halves[0] + halves[1]


def to_bfloat16(x):
    """Round float32 to nearest even, as the bits of float32; what is below normal becomes 0."""
    bits = x.view(np.uint32)
    up = bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000
    up = np.where(np.isnan(x), bits & 0xFFFF0000 | 0x400000, up).astype(np.uint32)
    return normal(up)

def numbers(tile):
    """Return the float32 that the bfloat16 of a tile stand for."""
    return normal(tile.view(np.uint16).astype(np.uint32) << 16).view(np.float32)

def normal(bits):
    return np.where(bits & 0x7F800000, bits, bits & 0x80000000)


# ---- compiling ----

def compiled(function, signature):
    """Compile a helper of Numba's for the processor of the environment: object file, name."""
    function.compile(signature)
    [overload] = function.overloads.values()
    elf = overload.library.codegen._tm.emit_object(overload.library._final_module)
    return elf, overload.fndesc.llvm_func_name
