export { testStore, type StoreHarness, type TestRunner } from '../../test/contract/store.ts'
