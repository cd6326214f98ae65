"""Objects on other machines: pinned without reading them, fetched whole or by range, never foreign.

`objects` pins what a reference names and knows the schemes; `cache` holds local copies; `fetch` and
`ranges` read; `requests` makes the HTTP requests beneath all of these, S3's and the hub's included,
with the promises that hold for each: paced retries, safe redirects, bodies that are what was asked
for.
"""
