"""What a case can expect: one module an area, all named in ``registry``."""
