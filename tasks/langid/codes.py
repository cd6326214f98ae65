"""What a model's label means: one language code for a language, whichever model names it.

Labels without a script (lid.176: `en`, `zh`, `arz`) are codes as they are. Labels of a language and
a script, as GlotLID, OpenLID and NLLB have them (`eng_Latn`, `cmn_Hani`, `zho_Hans`), are split:

- the language's ISO 639-3 code becomes its ISO 639-1 code where it has one (`eng` -> `en`), else it
  stays (`yue`);
- the code of the standard form of a macrolanguage becomes that of the macrolanguage (`cmn` -> `zh`,
  `arb` -> `ar`, `ekk` -> `et`), as do Bokmål (`nob` -> `no`) and Filipino (`fil` -> `tl`), as in
  lid.176; other members, such as `arz` and `yue`, are languages of their own;
- the script is a column beside it (`Latn`, `Hans`);
- `zxx_*`, text that is no language (OpenLID's and GlotLID's noise), becomes `zxx`, which cut drops;
- `und_*`, a language that the model does not know (GlotLID), becomes `und` with score 0.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from infra.ledger import UNDETERMINED

LABEL_PREFIX = "__label__"
_WITH_SCRIPT = re.compile(r"([a-z]{3})_([A-Z][a-z]{3})")

_ISO_639_3 = """
aar aa  abk ab  afr af  aka ak  amh am  ara ar  arg an  asm as  ava av  ave ae  aym ay  aze az
bak ba  bam bm  bel be  ben bn  bis bi  bod bo  bos bs  bre br  bul bg  cat ca  ces cs  cha ch
che ce  chu cu  chv cv  cor kw  cos co  cre cr  cym cy  dan da  deu de  div dv  dzo dz  ell el
eng en  epo eo  est et  eus eu  ewe ee  fao fo  fas fa  fij fj  fin fi  fra fr  fry fy  ful ff
gla gd  gle ga  glg gl  glv gv  grn gn  guj gu  hat ht  hau ha  hbs sh  heb he  her hz  hin hi
hmo ho  hrv hr  hun hu  hye hy  ibo ig  ido io  iii ii  iku iu  ile ie  ina ia  ind id  ipk ik
isl is  ita it  jav jv  jpn ja  kal kl  kan kn  kas ks  kat ka  kau kr  kaz kk  khm km  kik ki
kin rw  kir ky  kom kv  kon kg  kor ko  kua kj  kur ku  lao lo  lat la  lav lv  lim li  lin ln
lit lt  ltz lb  lub lu  lug lg  mah mh  mal ml  mar mr  mkd mk  mlg mg  mlt mt  mon mn  mri mi
msa ms  mya my  nau na  nav nv  nbl nr  nde nd  ndo ng  nep ne  nld nl  nno nn  nor no  nya ny
oci oc  oji oj  ori or  orm om  oss os  pan pa  pli pi  pol pl  por pt  pus ps  que qu  roh rm
ron ro  run rn  rus ru  sag sg  san sa  sin si  slk sk  slv sl  sme se  smo sm  sna sn  snd sd
som so  sot st  spa es  sqi sq  srd sc  srp sr  ssw ss  sun su  swa sw  swe sv  tah ty  tam ta
tat tt  tel te  tgk tg  tgl tl  tha th  tir ti  ton to  tsn tn  tso ts  tuk tk  tur tr  twi tw
uig ug  ukr uk  urd ur  uzb uz  ven ve  vie vi  vol vo  wln wa  wol wo  xho xh  yid yi  yor yo
zha za  zho zh  zul zu
"""
_STANDARD_FORMS = """
als sq  arb ar  ayr ay  azj az  cmn zh  ekk et  fil tl  gaz om  gug gn  khk mn  kmr ku  lvs lv
nob no  npi ne  ory or  pbt ps  pes fa  plt mg  swh sw  uzn uz  ydd yi  zsm ms
"""


def _pairs(words: str) -> dict[str, str]:
    codes = words.split()
    return dict(zip(codes[::2], codes[1::2], strict=True))


CODES = _pairs(_ISO_639_3) | _pairs(_STANDARD_FORMS)
"""ISO 639-3 code -> the code that recipes and columns have."""


@dataclass(frozen=True)
class Meaning:
    """A label's language code, and its script (ISO 15924) where the label names one."""

    language: str
    script: str | None = None


@functools.lru_cache(maxsize=8_192)
def meaning(label: str) -> Meaning:
    """What a model's label, with fastText's prefix or without, means."""
    plain = label.removeprefix(LABEL_PREFIX)
    split = _WITH_SCRIPT.fullmatch(plain)
    if split is None:
        return Meaning(plain)
    language, script = split.groups()
    if language == UNDETERMINED:
        return Meaning(UNDETERMINED)
    return Meaning(CODES.get(language, language), script)
