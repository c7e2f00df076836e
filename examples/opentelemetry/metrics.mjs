/** OpenTelemetry metrics of a cache. */

import { subscribe } from 'node:diagnostics_channel'
import { ValueType } from '@opentelemetry/api'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { AggregationTemporality, DataPointType } from '@opentelemetry/sdk-metrics'

/**
 * What calls come to and how long they take, by context; and which of them fail on Redis.
 * @param {import('@opentelemetry/api').Meter} meter
 */
export function measureCalls(meter) {
  const calls = meter.createHistogram('mizan.cache.call.duration', { unit: 'ms', description: 'Calls of all caches.' })
  for (const channel of ['mizan:cache:get', 'mizan:cache:put', 'mizan:cache:purge']) {
    subscribe(channel, (message) => {
      const { operation, context, outcome, duration } =
        /** @type {import('@mizan/cache').GetMessage | import('@mizan/cache').PutMessage | import('@mizan/cache').PurgeMessage} */ (
          message
        )
      calls.record(duration, { operation, outcome, ...(context === null ? {} : { context }) })
    })
  }

  const failures = meter.createCounter('mizan.cache.failures', { description: 'Calls that failed on Redis.' })
  subscribe('mizan:cache:error', (message) => {
    const { operation, reason, calls } = /** @type {import('@mizan/cache').ErrorMessage} */ (message)
    failures.add(calls, { operation, reason })
  })
}

/** Those of a cache's counters that only grow, and those of this moment. */
const COUNTERS = /** @type {const} */ (['hits', 'localHits', 'misses', 'stores', 'purges', 'timeouts', 'reconnects'])
const GAUGES = /** @type {const} */ (['entries', 'bytes', 'inFlight', 'pendingPurges'])

/**
 * The counters of one cache, read when metrics are collected.
 * @param {import('@opentelemetry/api').Meter} meter
 * @param {import('@mizan/cache').Cache} cache
 */
export function measureCache(meter, cache) {
  const counters = COUNTERS.map((name) => ({ name, instrument: meter.createObservableCounter(`mizan.cache.${name}`) }))
  const gauges = GAUGES.map((name) => ({ name, instrument: meter.createObservableGauge(`mizan.cache.${name}`) }))
  const isConnected = meter.createObservableGauge('mizan.cache.connected')
  const all = [...counters, ...gauges]
  meter.addBatchObservableCallback(
    (result) => {
      const stats = cache.stats()
      for (const { name, instrument } of all) result.observe(instrument, stats[name])
      // In memory there is no connection.
      if (stats.circuit !== null) result.observe(isConnected, stats.circuit === 'closed' ? 1 : 0)
    },
    [...all.map(({ instrument }) => instrument), isConnected],
  )
}

/**
 * How long calls on Redis took, as the cache itself counted it: for a metric reader's `metricProducers`. Needs no
 * subscription, and has what happened before anybody looked.
 * @param {import('@mizan/cache').Cache} cache
 * @returns {import('@opentelemetry/sdk-metrics').MetricProducer}
 */
export function latencyProducer(cache) {
  const startTime = now()
  return {
    async collect() {
      const dataPoints = Object.entries(cache.stats().latency).map(([operation, { count, sum, bounds, counts }]) => ({
        startTime,
        endTime: now(),
        attributes: { operation },
        value: { count, sum, buckets: { boundaries: bounds, counts } },
      }))
      const latency = /** @type {import('@opentelemetry/sdk-metrics').HistogramMetricData} */ ({
        descriptor: {
          name: 'mizan.cache.redis.duration',
          description: 'Calls that Redis was asked for.',
          unit: 'ms',
          valueType: ValueType.DOUBLE,
        },
        aggregationTemporality: AggregationTemporality.CUMULATIVE,
        dataPointType: DataPointType.HISTOGRAM,
        dataPoints,
      })
      const scopeMetrics = [{ scope: { name: '@mizan/cache' }, metrics: [latency] }]
      return { resourceMetrics: { resource: resourceFromAttributes({}), scopeMetrics }, errors: [] }
    },
  }
}

/** @returns {import('@opentelemetry/api').HrTime} */
function now() {
  const milliseconds = Date.now()
  return [Math.floor(milliseconds / 1_000), (milliseconds % 1_000) * 1_000_000]
}
