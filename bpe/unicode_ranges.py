"""The Unicode classes that the named patterns ask for, pinned to version 16.0.

Splits must not change when Python, `regex` or Unicode do, so the classes of all 0x110000 code
points stand here, as tiktoken 0.14 and tokenizers 0.23 have them. They were read from tiktoken
itself: an `Encoding` whose pattern is one class, such as `\\p{Lu}`, drops all text outside that
class, so decoding what it encodes of every code point lists the members
(`tests/bpe/test_pretokenize.py` does it again). `pack` then makes the text below.

A class is a few bits, so that each question of a pattern is one mask:

    OTHER   0        neither of the below: punctuation, symbols, control codes, unassigned
    MARK    UPPER | LOWER
    letters LETTER | UPPER (Lu, Lt)   LETTER | LOWER (Ll)   LETTER | UPPER | LOWER (Lm, Lo)
    NUMBER  8        SPACE 16

Four ASCII characters that patterns name have a bit more: SPACE | NEWLINE is \\r and \\n, SPACE |
NAMED is U+0020, and NAMED alone is the apostrophe.
"""
import base64
import zlib
from functools import lru_cache

import numpy as np

UNICODE_VERSION = "16.0"
UPPER, LOWER, LETTER, NUMBER, SPACE = 1, 2, 4, 8, 16
OTHER, MARK = 0, UPPER | LOWER
NEWLINE, NAMED = 32, 64
UNICODE = UPPER | LOWER | LETTER | NUMBER | SPACE  # the bits that are a class

PACKED = """
c-
q}rONgaM6+Ts`s!sj)_I>u__G7xIyJx1S=h>a<OvX`(gJA}O60<Q97lMd_8ZfT2kr0xN0T+UxkcEmnA#Rk(DoRWc6~
=|La3R4ETo{5YapA)6oT~fJoy<5GC(fXY>RW$3&a2Kj^_^;JhLOfYM}yoUiK~>-
Ds}L^iq?oD$(~$t#M$A?WhNIVXp)vOo+IY&Ve@x6e|OEdeQx{u%itT@ewp*P?DI40r{i9XnuK<bziS(mHB&l#PtRxC
r0P;+4Y$l+7MIp!OhM+TFOfuj3vI+tPgm)P{t|4I)ax9jsAHvHEH%P!la83iYWepkWi<NjS;T|1|3T<aj^&=(+ux^n
xCafVv!fn>ymW#xpMh=FzP>g`S=Qi1f!4W8QBLt9@>mehPQIWX#X_DFzI8Rmb4S?d4Ke3rgV*r&BzG~=$J`b-
;;|oI$Le`Y*yAwfn9-0aWrZ2@$_x2V5@c%RB%{w;@{p|>D_7}&Be-GB5IdY?Q1eO=eKB80)GL=NBj$8B=sA@iE4Wb5
T{)S|s;@U{$=2MU=G*4YK9NG9NQ`d*Cug}FQi+aqjY^|j&}ON`DpLj(wx*m1W<k|QZIQ~{EjrEaZ*?Lui_K`HvOuE_
TZ}^&HYoyrJ(V$UeH~|HhyZ=qqzT0rSWl}*J&ur}=rB=Bx4d0lEo^*kmv42**-
oJ9aASYxCi!P+q+;Dxezo!(d}C_C6R_*d9&n3l=PXs{dDF9S97Ct&YJHVT?2Lk0RnIO{0uSZYlYLfR0&1csg7M?6jU
w7|?RRWlWAtJfQ)!eA?7E5XiE5D-Dv#3OBc}gR^mGP$5k-!VQiIuxh^7Tm8c7m#3g+Fc@<6K~J)YATf=}U85T%-
xkx|K~Qz`*&wO@HVR$m>y^iR~^t=r5E@O!cLA2H`?ATr}%hw%vzR#$mPCr3jktFX!^fJ+!Uh>RgcBlFnOMc>n$^vc;
-|3Tg)jV_I5XJ@E39@%LX4W9&!2n%eRS4O!)9XX6y^}adkAPzUowp}?5D!@s(OUGoQktXLEKEdniIhAtHBKa^q01w^
c5hP^e*T8ESS*K^2=rs2s+fmp)V;0_yv7=D4vCJ3aDcF_C@&_-
%{_r6?XVoO8)AF$dK51Ky@umOuJbw>c^M9d3Mlkq@1`M99wciyVwasSxGb^<rO8_0jg6$Pw*%v27m!eq;SQX)A?aZ)
C>qAcwb-
^Cm(CPubnPSZmJv!hm8i8l9EKqPU7lcI&8tEpv0#$4%K~bJ!R?Qztd26L{pt|Nr*JJ)DJ(ic~Zy|5cJ2~!Gn8xpcH=
%_*NZ0oX_<rC8j~cCfvB6tpL^alq9b7bc{2_zS1J+Bdv3z=mhD5lB)z^4vI0M91a-(;T-
h7!2{X9|bZoAn&Yv~xs3csI277NIWo3xLVyopoa$a*UctbZK8uX=g)fG)|4KX&wpoCS>+^%@@<j9K_^+Di1Qc5L9{K
c)e-<%)tNr1pmH1fKbR`i0CE-
u`y;H)NOhFLA8xPHVyq?u8fCcJoSF6yqz1MxX|TfX*&5yEs{&6#xX~L0pSo&hc0;TEM%pfkIb+7JTOrE7Y8D57*^7D
frmK)!DC!CxV_{(9wWcA2Fa@as_J%QBi=)IRkcVryLEisil?;9(Ey*H?Y<b1>2>y(PWS&q{a%7$K{B@<0<_geg<Mq5
H}Cdb03#?HFCZ}J4t8`SvDFQb<1AGY;FdxKSf*e7mu>y5;i?Vy9RcFcF-
=_;ujpv&%DfZfm3)!K#kEO*raI4$$X_cz<8gw<r$jGXV5OvD0})k%>ArW`$14-
i>!syW>(m=fMlMt!k!&gkrnCy6e>7G0zMgc)2=*Lw2c@~I=73`3+EOA7~?=6gtR1wrSP5boz!X?`&c7C^I)<B(`J}k
bInP^zn7)fHNaE_^J_YrfKj%;0tA+GgKSeYi#f_tPKLj(Ank<=OrL@J^Vx#taU@ZZYDMMi1|i{QpfQnkeaXUK1|C+_
dkCuo)EmO^9Z08K=fNWbp-
)gDJT8yYg?K={bb!h!0jCASX~1`q;u74@PBSghA6!0Ml;Tpj48i^a1X;&YEm4=a3p=kFNIfZwAikiv8oqd*2h`0QTy
hVxJ9eD`2uG{{M6PJbhIn8w?;D&~0PBtB5i3xgQQ7A{ln#~wz425x3&73*!|1O7!WQW0=;0Z}?F@0ly%0}xP+fV2e_
7bMTI5U%yJ;yFHJV7v6g5fLoZZ!f-
LXQesimu<lBHvfy&m?h!v<r$VpKcL5VQe(7HXNJ2LF+Rc*<5!QR~`mEEt)$bTPeyI;B^tTdQym32J(nHDm-
6#J>vn!si#`X4*s{HfP$Ye7S12Y^9fK5Q<z{GJx0>TY21A*9R(Su!g@K+0_ws2z!EX+?BJ4Srusvw|T>%yct+>&?@h
krHibWbY3sv#V{?7^wHM5I}n1~w+%5?xzt{D#U{r(8>_ZI^(c4{zcrU>g4wR8(8Dd}=+nk>kxt2Xg}#)(Mk9I6(Qg*
y^Qh=w&d4)bQVih!-#ZMs-UxK{JgSp1XusZ*tEhdo1~Mr=Rex1>J>-
2bYH)07C};KbA}Gw$%PeQC*m>QV!6)=(RB6G?dI4^Yx)G_(S7UaePhbAN2OC~*=mcEn&zH?Fr)K$qholZpQru15Jj*
wko*T<o!LJ9CH;@w56Da*oVaW4=fjf9YFO_EleWJ<cog1*#w>3{Z1236Fdn&Kc3ofpvRW!|4W9!@FqTXuc?HBR@Fo$
}>>AJ41^9Evl%q9D^BTiwpLEbXDdfRpgJ6ABTE&ba)dl1d%=o<mn41CTUu#dK6-
Z7wSIU)Yj0<Mchzb|hRBU8Wn4y^VtZDGgLdQk8*vBa)#7C-
kmd<Q2v%>hH#89CBA`cUTWwtbuJXhM6_IQgYY)PTW>xSh5wQgqXIQvOK!e*se8CvgucPW(mLx>mPOvqYzoEO{%HLcR
Si$$WPGd)stw>N#PCp3)xab4<N{NAz0AJ$g$Y3ZKvN=5IajgI6}e^^Z#8*)wpmpL`fz_imu?&&x}J{?wIU?|{Oan{@
4!Q~Xy)-}*=QpX(UOwg
"""


def pack(table):
    """Write a class table as text: runs (class, length in base 128), deflated, in base 85."""
    starts = np.flatnonzero(np.diff(table, prepend=255))
    runs = bytearray()
    for start, length in zip(starts, np.diff(starts, append=len(table)).tolist()):
        runs.append(table[start])
        while length >= 128:
            runs.append(length & 127 | 128)
            length >>= 7
        runs.append(length)
    return base64.b85encode(zlib.compress(bytes(runs), 9)).decode()


def unpack(text):
    """Undo `pack`: the class of every code point, (0x110000,) uint8."""
    runs = iter(zlib.decompress(base64.b85decode(text.replace("\n", ""))))
    classes, lengths = [], []
    for kind in runs:
        length, shift, digit = 0, 0, 128
        while digit >= 128:
            digit = next(runs)
            length |= (digit & 127) << shift
            shift += 7
        classes.append(kind)
        lengths.append(length)
    return np.repeat(np.array(classes, np.uint8), lengths)


@lru_cache(maxsize=1)
def class_table():
    """Return the class of every code point, (0x110000,) uint8, read-only."""
    table = unpack(PACKED)
    table[[10, 13]] |= NEWLINE
    table[[32, 39]] |= NAMED
    table.flags.writeable = False
    return table


@lru_cache(maxsize=32)
def expand(properties, stop=0x110000):
    r"""Write classes as the inside of a regex set: `expand(r"\p{N}")` is `0-9\u00b2-\u00b3...`.

    Parameters
    ----------
    properties : str
        One of the sets of `SETS`.
    stop : int
        Code points from here on are left out.
    """
    classes = class_table()[:stop] & UNICODE
    wanted = np.isin(classes, SETS[properties])
    edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False)).reshape(-1, 2)
    return "".join(rf"\U{first:08x}-\U{stop - 1:08x}" for first, stop in edges.tolist())


SETS = {  # what a pattern writes -> the classes it means
    r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}": (LETTER | UPPER, LETTER | MARK, MARK),
    r"\p{Ll}\p{Lm}\p{Lo}\p{M}": (LETTER | LOWER, LETTER | MARK, MARK),
    r"\p{L}": (LETTER | UPPER, LETTER | LOWER, LETTER | MARK),
    r"\p{N}": (NUMBER,),
    r"\s": (SPACE,),
}
