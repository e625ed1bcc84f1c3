export { lmdbPersistence, type LmdbOptions } from './lmdb-store.ts'
