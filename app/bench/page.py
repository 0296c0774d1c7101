"""x"""
from app.bench.figures import Document, Ratio
NO_CUDA="no cuda"
def rows_of(found):
    for name, value in found:
        if isinstance(value, Ratio): yield name, value
        elif isinstance(value, dict):
            for key, one in value.items():
                if isinstance(one, Ratio): yield f"{name} {key}", one
def write_pages(found, folder): return []
