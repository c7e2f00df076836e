/** Uses a cache, in memory or on MIZAN_CACHE_REDIS_URL, and prints what OpenTelemetry would export of it. */

import { configureCache, onLog } from '@mizan/cache'
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { latencyProducer, measureCache, measureCalls } from './metrics.mjs'

onLog(({ level, message }) => console.log(`${level}: ${message}`))
const cache = configureCache({ secret: 'only for this example, and not a secret' })

// A real program exports elsewhere, and its provider is the one that it registers for all its metrics.
const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
const reader = new PeriodicExportingMetricReader({ exporter, metricProducers: [latencyProducer(cache)] })
const provider = new MeterProvider({ readers: [reader] })
const meter = provider.getMeter('@mizan/cache')
measureCalls(meter)
measureCache(meter, cache)

const { lease } = await cache.lookup('otel.profile', { id: 5 })
await cache.put('otel.profile', { id: 5 }, '{"name":"Ada"}', { lease })
await cache.get('otel.profile', { id: 5 })
await cache.purge('otel.profile', { id: 5 })
await provider.forceFlush()

for (const { scopeMetrics } of exporter.getMetrics()) {
  for (const metric of scopeMetrics.flatMap(({ metrics }) => metrics)) {
    for (const { attributes, value } of metric.dataPoints) {
      const labels = Object.entries(attributes).map(([name, label]) => `${name}=${label}`)
      const isHistogram = metric.dataPointType === DataPointType.HISTOGRAM
      const shown = isHistogram ? `${/** @type {{ count: number }} */ (value).count} calls` : value
      console.log([metric.descriptor.name, ...labels, '=', shown].join(' '))
    }
  }
}
await provider.shutdown()
await cache.close()
