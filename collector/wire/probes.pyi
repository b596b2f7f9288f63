from collector.wire.scan import Probes as Probes
