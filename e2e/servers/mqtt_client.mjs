// A client on MQTT.js: subscribes, publishes each line of its input, and prints what it hears.
import { createInterface } from 'node:readline'
import mqtt from 'mqtt'

const [url, headers, topic, qos] = process.argv.slice(2)
const client = mqtt.connect(url, {
  protocolVersion: 4,
  reconnectPeriod: 0,
  clientId: 'mqtt-js',
  wsOptions: { headers: JSON.parse(headers) },
})
const say = (what) => console.log(JSON.stringify(what))
client.on('connect', () => {
  client.subscribe(topic, { qos: Number(qos) }, (error, granted) => say({ subscribed: granted, error: error?.message }))
})
client.on('message', (name, payload, packet) => {
  say({ topic: name, payload: payload.toString(), qos: packet.qos, retain: packet.retain })
})
client.on('error', (error) => say({ error: error.message }))
client.on('close', () => {
  say({ closed: true })
  process.exit(0)
})
createInterface({ input: process.stdin }).on('line', (line) => {
  client.publish(topic, line, { qos: Number(qos) }, (error) => say({ published: line, error: error?.message }))
})
