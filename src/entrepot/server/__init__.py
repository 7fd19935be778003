"""The composition root: the only package that names concrete classes. Settings in, one ASGI app and one keeper out.

serve (parent)   takes the home, makes it on the first start, starts the others, ends them
  worker 1..n    `app`: the ASGI app, served by Granian
  keeper         `keep`: sweeps, digests, what follows uploads in parts
"""
