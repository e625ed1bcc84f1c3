export { testEmitter, type EmitterHarness, type TestCluster } from '../../test/contract/emitter.ts'
export { testStore, type StoreHarness, type TestRunner } from '../../test/contract/store.ts'
