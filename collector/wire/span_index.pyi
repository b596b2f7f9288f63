from collector.wire.scan import SpanIndex as SpanIndex
