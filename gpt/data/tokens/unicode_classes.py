"""Classes of code points as Hugging Face's `tokenizers` 0.23 has them, a mix of Unicode versions.

They were read from it: from what its pre-tokenizers `Punctuation` and `Whitespace` cut off, and
from what its normalizers drop or leave as it is, one code point at a time
(`tests/gpt/test_published_peers.py` does it again).
"""
from functools import lru_cache

import numpy as np

from bpe.unicode_ranges import SPACE, class_table, unpack

PUNCTUATION, CONTROL, MARK, NONSPACING, WORD = 1, 2, 4, 8, 16
INERT = 32  # of a later Unicode than its normal forms know: no decomposition, no combining class

PACKED = """
c-nnfO^9Vj6|Pft?|t{(+pqg{_nq#Zp6c$~lb&W~dVX$t{-S7{kQf=W7(t?p3sHg!Q83`r%`gNNVn9$_C}g3Moe*89<3b{+0ga#_
S;`>zgGzAWLPTc#zEkyH_Y69V>Q_~_e$LN#zH_Rb_}Y2zo%kguvY?HObX|%?5#g`j#;mv!%`1E2#f{MOc^t5A)roGQ{W7>h=iI!O
T!IO4i}3}FM7g{W&Q#o{!M=)iXdgs-34>U6USH+xu9F_$rP5R4d+&;PRwQCy^tlOUD?Nt$3W(DB3W7ihiWOU-koco}@dy+u)JM_h
czYc2ORO-1)v?e8Q)8ZL;j8FoJcgMYv4wQ=*gsaD8Zhz$O|XJJf?0`}i>33j0C|tbfF31pU8!sMtz12f_4LqmI6L;8=;bIKZ;&p;
x+^g9lt&xr;~}M}at?dp5VO|``XjSb(8Bq=7d@;(<Ji@mzy{nEBKOR>hIXZ_(RX5!6!)FxXALJfo=E$06kLdOZee$tWXhQ~pEP#K
Z--ARXL7;IX&oh_Ro#MF*>rO?cl;my4xb}tr9(OrNu0Y+%f=+sm@ow2n_LBcea4lyKIa2$Qt%|47`k8@C;6(5K5lqU7iQWK%t~+5
#~o||yHKK0wEJzRpK9h*541Yi-#nmEIn}-6zEMZ)nh$2$1UHvXn#pl$@Y&xol^Qpf8amo!YKI2e^A?`A1YOs%pD5$V{8?ZpHK1o|
+}qHu@W`AFkrIq><|x*{UxVm5F|#0}b}jcCTUib8u$^3{dBl-@Wo)~iIAt`D6r#7ATHczPzz1fd9iVL<Rw)_DTE-S%cib4O#!|Y%
WY~k93ao*LB2nPA1s7D-D;Rn3m+xqWLMPFz+EvNg+GPLkx@0f*_n_Ucy+Oq1kV^ei`FHz&d}Cn0Bln+Vc*xkT0vf6x!c4`0*S|wv
U38>MqU{+lMGNmN#efJL>vAM3jWPDH_au4N`WG21an#i&eM^QB<3y9aaVyfs;K?VI-oS~Z#^V_QPs8h5&d`ZdLPmE5FV~Rfr1_`S
Gl-aV^TMvK#uQ6rnoBvxQal>wz(-YV46lvtsDu;`73rx#`{Qnb{?PNbqfD4KwARoXDZ@2!?B=MGZZdw&Bjm`(Y=@^$I0jB@@bM1x
t}PaVl(;YGqmYc;xd-Wk)UJl*Bu*$NJPs!q-vz^8sjo}CJWz~6zwVPW;P3QXXBSS}7UnJ;V$xuJV^rhD31iCU=DjQ-70MbCV##E<
=;;%g5YtGAh*Qq{#6GQ1mI<?tPWs>mNJ~}^an3C&`ATL?72uKTKB)@J6^xq_-?(-WV7%w0a2q)CrJxtx-2#c}I!0T#`l~@!+<Wl3
$Hc8d|Hw?rSnx>Bg=M?Lh=0tIH25u&k;bO|Lt5<RJk~F}p9F(pz>Qw!NG5cq7@aArfI##c`7rZ;M8s6s!^)3Bh29N_kbB79?xxq*
FSx7v@^{5OsplZy%P^-#*BOlHUM9UQxby=^ftA|=ae4hzinbXI)voJh2n=&3BLl-~f|n~0WXpOH>H|!=->D@E1_2-(m$b650+mM2
t;QDcLvf%RAgGYx>|+X_f^LRO7|?*W9wh}wqZ|Y3*lw@w2A&U3!LVVPvUERM!XTw%zqevS+#0L|U?&<wFL1Syw$JUrHMHSmpj$te
(iNN7`F3Na-}x|@V-;w5)V-+w=Dxm7KRk~BAK^nu*T<B6CYiwHP{RL=+t$B92oTs+Y`g4EGBZXM8cQVr?Q4tXe%3>9bs<(o;XWSq
MMz;~6&E1sKz}9->bK6hMKKx_+bSTC8?erSp3vPzp9(~*LtD;ru>_lU$My37a&YfPuzrau-!eZz)ddW;fUJpbLc`riJvVs^Q;F7w
&C~kI)JU9UJBga(qPe@ZOAcy{`^U)q$o1<3=jQZ>^z;fmRKs^NK=I);+PE(P<;s%3fLhZ=Ub$-e))r)2?uo2bgEPjgpsjMgig0AY
zpAO2K*)l*ik#>-tn>n|og%}GI5vzvVpJB1JrL{|4hyg<Wm|?VmfQ%qe@?HtD|!KAww(cyU`E(=fwDuYe~VIqR1YaGte{HYquM}F
ZCJHf>&no=#7o$IT93G6R3^jvQe430YuXGn^Vq`XEUOX*g#Zvj?wTN6Miz8IcPu|pbXMLJ=#ePKm1D~f19p!)z6S8fAj|87l{sAB
Ln#Cv>lFh(D}7V|kooaLi8=X>HD#5E1b3Bow|_`=iHg|j0}J(BU4~f|STesl)<UdfTMexK2FaB$EB`d!$+cac8xl?VfmvmO{syw^
k`ZD<a>DGU>06mK3(JYvWA7k3>Q!)1F6r|}SydL}$8B3ZGXt^KS}Nb0CG9FbCz9dukcxN?c{3eLCngoLR7!2PQOW=VpV0TaBW5AV
nUeCa4Vf(Lh2x<WiFFR!pSHE<7{J4nOpfWrfmWyo>Tqok3xp*A@eM&8wP4b)1U-Rr6D6lT1R6kS6I#M4co1EiIp&OQPW@zbnlxd!
%JV1kZ!t`@{eib|W8HO%86BEU5Y^A(^L72k$bC{ji>Ra{e<tqDPCpI_UaNtA2G2LQ;GQ=Mcl(lV549=QxL-{4HcEVZ#Wt1$uDetW
L28z&*f_)y3sgR1%@<>YN{Lu}E$GQ1y*6-=fLw2iKEwA)cMgUau|`GcCmL=c>%9K!Jal|(>`r0FpWkaRn_A@CzAqeKpBwqDF>f*S
<=|di(of^U2^q`G5cm@Ih5LTruMds;LSdd-b$0?D$M5RwLDy9trItZ^6FB=C38+Q2Qe%lnmhSO;*Xy&m`F;7BE;)cG)m#ocO7}#r
h3h<yIULJe;&ASFJToQFqxqi#5Bnv$_T9}QUIG8@qv*4O1*k2-`g}AkxZl)RO)xx<ldtp_I$YB&0!sYliwfyrc-(CRhcD<^(B24w
FcXlMe(H5|U}<$`U^Kji@*{OnrVcDP|H4XzGLK+~62E^<x)rnBB>Ho{fJgAvQ{BkwI>hbRRvgQ#B<F?3O(`S)qr-$aDEh(!>mO{>
Z&N%JhtA{Ki@8)St^dzd->;ke0l$Chh=N-0;HlH=k9&OlJ&(I}79jfGI}rqL7w%ij`by#c(CV*taoU~U{q{$DNb8&aV}Nb^hq$l&
C-}SffW7qhzlUrB?*
"""


@lru_cache(maxsize=1)
def classes():
    """Return the classes of every code point, bits of (0x110000,) uint8."""
    return unpack(PACKED)


@lru_cache(maxsize=8)
def set_of(bit):
    """Write a class as the inside of a regular expression's set."""
    return _ranges(classes() & bit > 0)


@lru_cache(maxsize=1)
def white():
    """All white space, a str of 25 characters."""
    codes = np.flatnonzero(class_table() & SPACE)
    return "".join(map(chr, codes))


def _ranges(wanted):
    changes = np.diff(wanted, prepend=False, append=False)
    edges = np.flatnonzero(changes).reshape(-1, 2)
    return "".join(rf"\U{first:08x}-\U{stop - 1:08x}" for first, stop in edges.tolist())
