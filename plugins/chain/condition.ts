type Condition = (request: never) => boolean

/** A hook that may be for some requests only. */
type ConditionalHook<Request> = ((request: Request) => unknown) & { readonly [appliesTo]?: Condition }

/** Marks a hook as one that is for some requests only: for the others it is not there. */
export const appliesTo: unique symbol = Symbol('appliesTo')

/** Whether a hook is for some requests only. */
export function isConditional (hook: ConditionalHook<never>): boolean { return hook[appliesTo] !== undefined }

/** Whether a hook is for a request. One whose condition fails is: asked, it fails, too. */
export function isFor<Request> (hook: ConditionalHook<Request>, request: Request): boolean {
  try {
    return hook[appliesTo]?.(request as never) !== false
  } catch {
    return true
  }
}
