"""Models that come along. A wheel carries this folder as gymformer/shipped/models; gymformer.resources finds either."""
