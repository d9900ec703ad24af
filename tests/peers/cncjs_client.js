// Prints a file through a cncjs server, as its own page does: over socket.io.
//
//     node cncjs_client.js HTTP_PORT SECRET SERIAL_PORT CONTROLLER FILE SECONDS
//
// Prints one JSON object: total, sent, received (lines of the sender), states (of the workflow), firmware (what the
// controller says of itself), errors (lines of the board that begin with "error", in any case).
'use strict'
const fs = require('fs')
const { once } = require('events')
const { setTimeout: pause } = require('timers/promises')
const io = require('socket.io-client')
const jwt = require('jsonwebtoken')

async function main (httpPort, secret, serialPort, controllerType, file, seconds) {
  const limit = Date.now() + 1000 * Number(seconds)
  const until = async (isSo, what) => {
    while (!isSo()) {
      if (Date.now() > limit) throw new Error(`${what}: not in time; ${JSON.stringify(seen)}`)
      await pause(20)
    }
  }
  const seen = { total: 0, sent: 0, received: 0, states: [], firmware: null, errors: [] }
  const token = jwt.sign({ id: '', name: 'bench' }, secret)
  const socket = io.connect(`http://127.0.0.1:${httpPort}`, { query: `token=${token}`, transports: ['websocket'] })
  socket.on('error', (failure) => { throw new Error(String(failure)) })
  socket.on('sender:status', ({ total, sent, received }) => Object.assign(seen, { total, sent, received }))
  socket.on('workflow:state', (state) => seen.states.push(state))
  socket.on('controller:settings', (_type, settings) => { seen.firmware = settings.firmware ?? settings })
  socket.on('controller:state', (_type, state) => { seen.machine = state?.status?.activeState })
  socket.on('serialport:read', (line) => { if (/^error/i.test(line)) seen.errors.push(line) })
  await once(socket, 'startup')

  const call = (...words) => new Promise((resolve, reject) => {
    socket.emit(...words, (failure, value) => failure ? reject(new Error(JSON.stringify(failure))) : resolve(value))
  })
  await call('open', serialPort, { controllerType, baudrate: 115200 })
  await until(() => seen.firmware && Object.keys(seen.firmware).length, 'the controller is ready')
  if (controllerType === 'Grbl') await until(() => seen.machine === 'Idle', 'Grbl is idle')
  await call('command', serialPort, 'gcode:load', 'part.gcode', fs.readFileSync(file, 'utf8'), {})
  seen.states.length = 0
  socket.emit('command', serialPort, 'gcode:start')
  await until(() => seen.states.includes('running') && seen.states.at(-1) !== 'running', 'the program ends')
  await until(() => seen.received === seen.total, 'every line is acknowledged')
  await call('close', serialPort)
  console.log(JSON.stringify(seen))
}

main(...process.argv.slice(2)).then(() => process.exit(0), (failure) => {
  console.error(failure)
  process.exit(1)
})
