// modbus-serial runs the errand of README.md. Its serial port does not know how long replies to FC22 and FC23 are.
'use strict'
const { setTimeout: pause } = require('timers/promises')
const ModbusRTU = require('modbus-serial')

const TIMEOUT_MS = 5000

async function codeOf (asked) {
  try {
    return 'answered ' + JSON.stringify(await asked)
  } catch (failure) {
    return failure.modbusCode ?? String(failure)
  }
}

function on (bus, unit) {
  bus.setID(unit)
  return bus
}

const words = async (asked) => (await asked).data

async function plain (bus, isSerial) {
  const said = {}
  await bus.writeCoils(4, [1, 0, 1, 1, 0, 0, 1, 0, 1, 1].map(Boolean))
  await bus.writeCoil(3, true)
  said.coils = (await words(bus.readCoils(0, 16))).slice(0, 16).map(Number)
  said.discretes = (await words(bus.readDiscreteInputs(0, 10))).slice(0, 10).map(Number)
  said.inputs = await words(bus.readInputRegisters(100, 5))
  await bus.writeRegisters(20, Array.from({ length: 123 }, (_, i) => 1000 + i))
  said.most = await words(bus.readHoldingRegisters(19, 125))
  if (!isSerial) {
    said.exchanged = await words(bus.readWriteRegisters(39, 4, 40, 2, [7, 8]))
    await bus.writeRegister(5, 0x12)
    await bus.maskWriteRegister(5, 0xF2, 0x25)
    said.masked = (await words(bus.readHoldingRegisters(5, 1)))[0]
  }
  said.past = await codeOf(bus.readHoldingRegisters(199, 2))
  return said
}

async function main (bus0, bus1, beamPort, plainPort) {
  const said = {}
  const first = new ModbusRTU()
  await first.connectRTUBuffered(bus0, { baudRate: 9600 })
  first.setTimeout(TIMEOUT_MS)
  const heater = on(first, 1)
  said.identity = (await words(heater.readHoldingRegisters(122, 1)))[0]
  said.pv = (await words(heater.readHoldingRegisters(1, 1)))[0]
  await heater.writeRegister(276, 1)
  await heater.writeRegister(26, 455)
  said.working_sp = (await words(heater.readHoldingRegisters(5, 1)))[0]
  await heater.writeRegisters(24, [250, 300])
  said.block = await words(heater.readHoldingRegisters(24, 3))
  said.hole = await codeOf(heater.readHoldingRegisters(10, 1))
  said.volts = (await on(first, 2).readInputRegisters(0, 2)).buffer.readFloatBE(0)

  const second = new ModbusRTU()
  await second.connectRTUBuffered(bus1, { baudRate: 115200 })
  second.setTimeout(TIMEOUT_MS)
  const blade = on(second, 1)
  await blade.writeRegister(15, 1)
  await blade.writeRegisters(0x6200, [1, 0, 2500, 600, 20, 20, 0, 0x10])
  for (let i = 0; i < 100; i++) {
    if ((await words(blade.readHoldingRegisters(0x1003, 1)))[0] & 32) break
    await pause(20)
  }
  said.pulses = (await blade.readHoldingRegisters(0x1014, 2)).buffer.readInt32BE(0)
  said.rtu = await plain(on(second, 3), true)

  const memory = new ModbusRTU()
  await memory.connectTCP('127.0.0.1', { port: Number(plainPort) })
  memory.setTimeout(TIMEOUT_MS)
  said.tcp = await plain(on(memory, 3), false)
  const head = new ModbusRTU()
  await head.connectTCP('127.0.0.1', { port: Number(beamPort) })
  head.setTimeout(TIMEOUT_MS)
  on(head, 1)
  await head.writeRegisters(1, [654, 1, 7])
  await head.writeRegister(4, 1)
  said.head = await words(head.readHoldingRegisters(0, 7))
  said.refused = await codeOf(head.writeRegister(1, 2001))
  said.read_only = await codeOf(head.writeRegister(6, 1))
  said.foreign = await codeOf(on(head, 9).readHoldingRegisters(0, 1))
  console.log(JSON.stringify(said))
}

main(...process.argv.slice(2)).then(() => process.exit(0), (failure) => {
  console.error(failure)
  process.exit(1)
})
