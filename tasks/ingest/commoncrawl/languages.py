"""Language codes of the columnar index: ISO 639-3, where recipes may say ISO 639-1."""

from __future__ import annotations

import difflib
import re

_PAIRS = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak
be:bel bg:bul bi:bis bm:bam bn:ben bo:bod br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre
cs:ces cu:chu cv:chv cy:cym da:dan de:deu dv:div dz:dzo ee:ewe el:ell en:eng eo:epo es:spa
et:est eu:eus fa:fas ff:ful fi:fin fj:fij fo:fao fr:fra fy:fry ga:gle gd:gla gl:glg gn:grn
gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye hz:her ia:ina id:ind
ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl it:ita iu:iku ja:jpn jv:jav ka:kat kg:kon ki:kik
kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat
lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri mk:mkd ml:mal
mn:mon mr:mar ms:msa mt:mlt my:mya na:nau nb:nob nd:nde ne:nep ng:ndo nl:nld nn:nno no:nor
nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan pi:pli pl:pol ps:pus pt:por
qu:que rm:roh rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag si:sin sk:slk
sl:slv sm:smo sn:sna so:som sq:sqi sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam te:tel
tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig
uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho
zu:zul
"""
CODES: dict[str, str] = dict(re.findall(r"(\w+):(\w+)", _PAIRS))
"""ISO 639-1 -> ISO 639-3."""

_OTHERS = {
    "bih", "ceb", "chr", "crs", "haw", "hmn", "kha", "lif", "mfe", "nso", "sco", "syr", "tlh",
    "war",
}  # fmt: skip
"""Codes that the index has and ISO 639-1 has not: the other languages that CLD2 knows."""

KNOWN = frozenset(CODES.values()) | _OTHERS
_BIBLIOGRAPHIC = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces",
    "dut": "nld", "fre": "fra", "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl",
    "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas", "rum": "ron", "slo": "slk",
    "tib": "bod", "wel": "cym",
}  # fmt: skip


def three_letters(code: str) -> str:
    """The index's code of a language; `ValueError` for one that it does not have."""
    low = code.strip().lower()
    found = CODES.get(low, _BIBLIOGRAPHIC.get(low, low))
    if found in KNOWN:
        return found
    codes = sorted({*CODES, *KNOWN}) if len(low) <= 4 else ()  # a name is near to no code
    near = difflib.get_close_matches(low, codes, n=3, cutoff=0.5)
    guess = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    raise ValueError(
        f"language {code!r} is none that Common Crawl's index has{guess}; it has ISO 639-3 codes, "
        "such as zho or deu, for which zh and de may be written too"
    )
