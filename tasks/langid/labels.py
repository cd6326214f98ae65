"""Labels of lid.176 and other names for its languages, with which planning checks recipes.

https://fasttext.cc/docs/en/language-identification.html (the labels are the codes of the Wikipedias
it was trained on).
"""

from __future__ import annotations

import difflib
from pathlib import Path

from infra.ledger import UNDETERMINED
from tasks.documents.keep import NO_LANGUAGE
from tasks.langid.codes import CODES, meaning
from tasks.langid.model import read_labels

_LABELS = """
af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de diq dsb
dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is it ja
jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl my myv mzn
nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh si sk sl so sq
sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh
"""
LID_176 = frozenset(_LABELS.split())

_NAMES = """
af afrikaans afr; sq albanian sqi alb; am amharic amh; ar arabic ara arb; hy armenian hye arm; as assamese asm;
ast asturian; az azerbaijani aze azj; ba bashkir bak; eu basque eus baq; be belarusian bel; bn bengali bangla ben;
bs bosnian bos; br breton bre; bg bulgarian bul; my burmese myanmar mya bur; yue cantonese; ca catalan cat;
ceb cebuano; ce chechen che; zh chinese mandarin zho chi cmn cn; cv chuvash chv; hr croatian hrv; cs czech ces cze cz;
da danish dan dk; dv dhivehi div; nl dutch flemish nld dut; arz egyptian; en english eng; eo esperanto epo;
et estonian est; fi finnish fin; fr french fra fre; fy frisian fry; gl galician glg; ka georgian kat geo;
de german deu ger; el greek ell gre gr; gn guarani grn; gu gujarati guj; ht haitian hat; he hebrew heb iw;
hi hindi hin; hu hungarian hun; is icelandic isl ice; id indonesian ind in; ga irish gle; it italian ita;
ja japanese jpn jp; jv javanese jav; kn kannada kan; kk kazakh kaz; km khmer khm; ko korean kor kr;
ku kurdish kmr kur; ckb sorani; ky kyrgyz kirghiz kir; lo lao; la latin lat; lv latvian lav lvs; lt lithuanian lit;
lb luxembourgish ltz; mk macedonian mkd mac; mg malagasy mlg; ms malay msa may zsm; ml malayalam mal; mt maltese mlt;
mr marathi mar; mn mongolian mon khk; ne nepali nep npi; no norwegian bokmal nob nor nb; nn nynorsk nno;
oc occitan oci; or odia oriya ori ory; os ossetian oss; ps pashto pus; fa persian farsi fas per pes; pl polish pol;
pt portuguese por; pa punjabi panjabi pan; qu quechua que; ro romanian moldovan ron rum; rm romansh roh;
ru russian rus; sa sanskrit san; gd gaelic gla; sr serbian srp; sd sindhi snd; si sinhala sinhalese sin;
sk slovak slk slo; sl slovenian slovene slv; so somali som; es spanish castilian spa; su sundanese sun;
sw swahili swa swh; sv swedish swe se; tl tagalog filipino tgl fil; tg tajik tgk; ta tamil tam; tt tatar tat;
te telugu tel; th thai tha; bo tibetan bod tib; tr turkish tur; tk turkmen tuk; uk ukrainian ukr ua; ur urdu urd;
ug uyghur uighur uig; uz uzbek uzb uzn; vi vietnamese vie vn; cy welsh cym wel; wuu wu; yi yiddish yid; yo yoruba yor
"""
_CODE_OF = {word: words[0] for words in map(str.split, _NAMES.split(";")) for word in words}


def unknown_label(language: str, model: str) -> str | None:
    """An error message if `model` never predicts `language`; None if it does or if we cannot tell.

    Of other models only the form of labels is known here.
    """
    meant_code = meaning(language).language
    if model != "lid.176" and meant_code != language:
        return (
            f"{language!r} is a label, whose language is {meant_code!r} in recipes, whatever the "
            "model; write that, and the script under keep.scripts if it matters"
        )
    if model != "lid.176" or language in LID_176 or language == UNDETERMINED:
        return None
    meant = meant_label(language)
    guess = f" (did you mean {meant!r}?)" if meant else ""
    return (
        f"{language!r} is not a label of lid.176{guess}; use one of its language codes, such as "
        "en, zh, de, sw"
    )


def absent_language(language: str, model: Path) -> str | None:
    """An error message if no label of a fastText model's file means `language`; None if one does,
    or if the file is no classifier, which the stage reports.
    """
    status = model.stat()
    labels = read_labels(model, (status.st_size, status.st_mtime_ns))
    if labels is None:
        return None
    languages = {UNDETERMINED, *(meaning(label).language for label in labels)}
    if language in languages:
        return None
    guesses = [
        CODES.get(language, meant_label(language)),
        *difflib.get_close_matches(language, languages, n=1),
    ]
    guess = next((f" (did you mean {guess!r}?)" for guess in guesses if guess in languages), "")
    return (
        f"{language!r} is none of the {len(languages - {UNDETERMINED, NO_LANGUAGE}):,} languages of {model.name}{guess}; use "
        "one that the model has, or another model"
    )


def meant_label(word: str) -> str | None:
    """The lid.176 label meant by a name, a three-letter code, a tag (zh-Hans) or a misspelling."""
    plain = word.strip().lower()
    for candidate in (plain, plain.replace("_", "-").partition("-")[0]):
        if label := candidate if candidate in LID_176 else _CODE_OF.get(candidate):
            return label
    close = difflib.get_close_matches(plain, _CODE_OF, n=1, cutoff=0.75)
    return _CODE_OF[close[0]] if close else None
