// Sends N data points of each kind, or N log records, with the JSON exporters of the OpenTelemetry SDK for JavaScript.
// usage: node send_signals.cjs metrics|logs URL COUNT
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-http');
const { AggregationType, MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { OTLPMetricExporter } = require('@opentelemetry/exporter-metrics-otlp-http');

const [signal, url, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];

function metrics() {
  const reader = new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter({ url }),
    exportIntervalMillis: 3600000,
  });
  const aggregation = { type: AggregationType.EXPONENTIAL_HISTOGRAM };
  const provider = new MeterProvider({ readers: [reader], views: [{ instrumentName: 'sizes', aggregation }] });
  const meter = provider.getMeter('butterfly-real-sender', '1.0.0');
  const tokens = meter.createCounter('tokens', { unit: '{token}' });
  const latency = meter.createHistogram('latency', { unit: 's' });
  const sizes = meter.createHistogram('sizes', { unit: 'By' });
  meter.createObservableGauge('share').addCallback((result) => {
    for (let number = 0; number < count; number++) result.observe(number / 7, { number });
  });
  for (let number = 0; number < count; number++) {
    tokens.add(2 ** 40 + number, { number });
    latency.record(number / 100, { number });
    sizes.record(number, { number });
  }
  return provider;
}

function logs() {
  const provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor(new OTLPLogExporter({ url }))] });
  const logger = provider.getLogger('butterfly-real-sender', '1.0.0');
  for (let number = 0; number < count; number++) {
    logger.emit({
      severityNumber: 1 + (number % 24),
      severityText: 'loud',
      timestamp: new Date(1700000000000 + number),
      body: number % 2 ? `checkpoint lost ${number}` : { number, deep: [1, 'two', { three: 3.5 }] },
      attributes: { 'record.number': number, share: number / 7, ok: number % 2 === 0 },
    });
  }
  return provider;
}

const provider = signal === 'metrics' ? metrics() : logs();
provider.shutdown().then(() => console.log('sent', count));
