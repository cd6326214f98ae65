"""What a recipe's data stages would take on a named cluster: time, memory, requests, bytes, money.

`cluster` reads the machine, `costs` what a document costs in every stage, `sizes` how many there
are. `works` multiplies them, `walls` divides by the machine, `bottlenecks` says what holds it up.
"""
