"""Mixture by scaling law: shares proposed from the held-out losses of small models (proxies).

draws.py      mixtures that proxies are trained on
needs.py      how many proxies a law needs
proxies.py    what the proxies came to, read from their artifacts
laws.py       published forms of loss against shares, parameters and tokens
fitting.py    a law fitted to proxies
intervals.py  jackknife+ and bootstrap
limits.py     shares that the recipe allows
optimum.py    the shares of least predicted loss within them
search.py     all of it, one after the other
"""
