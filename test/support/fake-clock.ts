export { FakeClock, settled } from '../../plugins/testing/fake-clock.ts'
