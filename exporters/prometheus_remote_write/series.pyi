from exporters.prometheus_remote_write.symbols import SymbolTable

class SeriesTable(SymbolTable):
    """Series: the same labels always get the same number. `SampleTable` is its public form."""
