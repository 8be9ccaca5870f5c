"""Data that comes along. A wheel carries this folder as gymformer/shipped/data; gymformer.resources finds either."""
