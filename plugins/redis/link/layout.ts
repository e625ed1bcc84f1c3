/**
 * Everything that is kept, and where. All keys begin with `{prefix}:`, so that a cluster of Redis has them in one slot and scripts may use several of
 * them. `<gen>` is a node's generation (0: a store without an emitter), `<n>` the number of a Session; texts of Clients stand at the end of a key or in a field.
 *
 * | key | type | what |
 * | --- | --- | --- |
 * | v | hash | `schema`, `createdBy`, and what the emitter agrees on |
 * | n | hash | counters: `gen`, `log` and `moves` (last ones given), `presence` (last entry of `pr`), `body` (blocks of bodies given), `heard` and `since` (see `members`); of generation 0: `session` (next), `aliveAt` |
 * | last | hash | gen → number of the last call of `Pipe.run` that was executed; a generation that is not in it is fenced |
 * | refused | hash | gen → number of the last commit that was refused, a space and the answer to it |
 * | nodes | hash | gen → JSON |
 * | hb | sorted set | gen by time |
 * | left | set | gen of nodes that have left, and have Sessions to adopt |
 * | page | hash | gen → the last page of its Sessions that was adopted |
 * | lg | stream | the log, ids `<position>-0`; fields below |
 * | w:<gen> | hash | Topic Filter → subscribers |
 * | in:<gen> | stream | the inbox, ids `<position>-0`; fields below |
 * | inp, cur | hash | gen → last position in the inbox; position up to which it is settled, or was handed on by who adopts the node |
 * | inb, cub | hash | gen → bytes of all frames that came into the inbox; of those that are settled |
 * | tk:<gen> | sorted set | origins of messages in the inbox that are handed on and not settled |
 * | hold:<gen> | sorted set | n by the position above which that Session needs the inbox |
 * | own:<gen> | set | n |
 * | on:<gen> | set | Client Identifiers |
 * | c:<cid> | string | n |
 * | s:<n> | hash | the Session; fields below |
 * | f:<n> | hash | Topic Filter → options, see `encodeOptions` |
 * | q:<n> | hash | position → delivery, see store/records.ts |
 * | i:<n> | hash | position → `<Packet Identifier>`, or `<Packet Identifier>:` when it is released |
 * | r:<n> | set | Packet Identifiers of QoS 2 messages that came in |
 * | b:<reference> | hash | `m` a message that several Sessions get, `c` how many have it still |
 * | ret:<0…255> | hash | Topic Name → retained message |
 * | rx:<0…255> | hash | Topic Name → when its retained message expires, if it does |
 * | pr | stream | who came online (`o` 1) and went offline (0): `c` Client Identifier, `g` gen |
 * | reap:<gen> | string | lease of the node that adopts |
 *
 * Fields of a Session; one that is not stored has only the first ones: `c` Client Identifier, `o` gen that owns it, `h` highest origin (`Message.origin`) that it was
 * given from its owner's inbox, `n` gen where its Client is online; `r` its record, JSON, `d` 1 when it is over, `e` position after the last delivery that was
 * ever queued, `x` position after the last one that was sent (none that waits is before it), `m` stretches of former owners' inboxes that it may need (see fragments/take.lua.ts), `k` the call that
 * took it from another node, `v` when that was last heard of, if it was dead.
 *
 * Fields of a log entry: `k` kind, `g` gen, then by kind: joined: `d` description, JSON; routes: `m` moves, then Topic Filter and subscribers ('' for
 * none) in turns; retained: `t` Topic Name. Fields of an inbox entry: `f` bytes of a frame and `t` bytes
 * of all frames up to it, or `e` Client Identifier, `s` Session and `l` position in the log for an eviction.
 */

/** The version of the layout that this file describes; what a higher one has written is left alone. */
export const schema = 1

/** Entries of the log that are kept. */
export const logLength = 16_384

/** Hashes that share the retained messages: no one of them grows too large, and each is scanned by itself. */
export const retainedBuckets = 256

/** The hash tag, and with it the slot, of all keys. */
export function rootKey (prefix: string): string { return `{${prefix}}:` }

/** The key, without its root, of the hash that a retained message is in. */
export function retainedKey (topicName: string): string { return `ret:${retainedBucket(topicName)}` }

/** FNV-1a of the UTF-16 code units. */
export function retainedBucket (text: string): number {
  let hash = 0x811C9DC5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return (hash ^ (hash >>> 16)) & (retainedBuckets - 1)
}
