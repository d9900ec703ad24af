// jsmodbus runs the errand of README.md. It has no FC22 and no FC23, and its FC16 on TCP announces 120 registers at most.
'use strict'
const net = require('net')
const { once } = require('events')
const { setTimeout: pause } = require('timers/promises')
const modbus = require('jsmodbus')
const { SerialPort } = require('serialport')

const TIMEOUT_MS = 5000
const words = (reply) => Array.from(reply.response.body.valuesAsArray)

async function openSerial (path, baudRate) {
  const port = new SerialPort({ path, baudRate })
  await once(port, 'open')
  return port
}

// The clients must stand before the socket connects: they watch it do so.
async function openTcp (port, ...units) {
  const socket = new net.Socket()
  const clients = units.map((unit) => new modbus.client.TCP(socket, unit, TIMEOUT_MS))
  socket.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  return clients
}

async function codeOf (asked) {
  try {
    return 'answered ' + JSON.stringify((await asked).response.body)
  } catch (failure) {
    return failure.response?.body?.code ?? String(failure.message ?? failure.err)
  }
}

async function plain (unit) {
  await unit.writeMultipleCoils(4, [1, 0, 1, 1, 0, 0, 1, 0, 1, 1].map(Boolean))
  await unit.writeSingleCoil(3, true)
  const said = {}
  const bits = (reply, count) => Array.from(reply.response.body.valuesAsArray).slice(0, count)
  said.coils = bits(await unit.readCoils(0, 16), 16)
  said.discretes = bits(await unit.readDiscreteInputs(0, 10), 10)
  said.inputs = words(await unit.readInputRegisters(100, 5))
  await unit.writeMultipleRegisters(20, Array.from({ length: 120 }, (_, i) => 1000 + i))
  await unit.writeMultipleRegisters(140, [1120, 1121, 1122])
  said.most = words(await unit.readHoldingRegisters(19, 125))
  said.past = await codeOf(unit.readHoldingRegisters(199, 2))
  return said
}

async function main (bus0, bus1, beamPort, plainPort) {
  const said = {}
  const first = await openSerial(bus0, 9600)
  const heater = new modbus.client.RTU(first, 1, TIMEOUT_MS)
  said.identity = words(await heater.readHoldingRegisters(122, 1))[0]
  said.pv = words(await heater.readHoldingRegisters(1, 1))[0]
  await heater.writeSingleRegister(276, 1)
  await heater.writeSingleRegister(26, 455)
  said.working_sp = words(await heater.readHoldingRegisters(5, 1))[0]
  await heater.writeMultipleRegisters(24, [250, 300])
  said.block = words(await heater.readHoldingRegisters(24, 3))
  said.hole = await codeOf(heater.readHoldingRegisters(10, 1))
  const meter = new modbus.client.RTU(first, 2, TIMEOUT_MS)
  said.volts = (await meter.readInputRegisters(0, 2)).response.body.valuesAsBuffer.readFloatBE(0)

  const second = await openSerial(bus1, 115200)
  const blade = new modbus.client.RTU(second, 1, TIMEOUT_MS)
  await blade.writeSingleRegister(15, 1)
  await blade.writeMultipleRegisters(0x6200, [1, 0, 2500, 600, 20, 20, 0, 0x10])
  for (let i = 0; i < 100; i++) {
    if (words(await blade.readHoldingRegisters(0x1003, 1))[0] & 32) break
    await pause(20)
  }
  said.pulses = (await blade.readHoldingRegisters(0x1014, 2)).response.body.valuesAsBuffer.readInt32BE(0)
  said.rtu = await plain(new modbus.client.RTU(second, 3, TIMEOUT_MS))

  const [memory] = await openTcp(plainPort, 3)
  said.tcp = await plain(memory)
  const [head] = await openTcp(beamPort, 1)
  await head.writeMultipleRegisters(1, [654, 1, 7])
  await head.writeSingleRegister(4, 1)
  said.head = words(await head.readHoldingRegisters(0, 7))
  said.refused = await codeOf(head.writeSingleRegister(1, 2001))
  said.read_only = await codeOf(head.writeSingleRegister(6, 1))
  const [stranger] = await openTcp(beamPort, 9)
  said.foreign = await codeOf(stranger.readHoldingRegisters(0, 1))
  console.log(JSON.stringify(said))
}

main(...process.argv.slice(2)).then(() => process.exit(0), (failure) => {
  console.error(failure)
  process.exit(1)
})
