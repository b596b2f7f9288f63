// Sends N spans, every one an error, with the JSON exporter of the OpenTelemetry SDK for JavaScript.
// usage: node send.cjs URL COUNT
const { BasicTracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-http');
const { SpanStatusCode } = require('@opentelemetry/api');

const [url, count] = [process.argv[2], Number(process.argv[3])];
const provider = new BasicTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url }))],
});
const tracer = provider.getTracer('butterfly-real-sender', '1.0.0');
for (let number = 0; number < count; number++) {
  const span = tracer.startSpan(`inference.request ${number}`, {
    attributes: { 'request.number': number, share: number / 7, ok: number % 2 === 0, layers: [1, 2, 3] },
  });
  span.addEvent('layer.execute', { layer: number });
  span.setStatus({ code: SpanStatusCode.ERROR, message: 'made up' });
  span.end();
}
provider.shutdown().then(() => console.log('sent', count));
