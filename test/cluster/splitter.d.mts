/** Listens on a free port, and gives each new connection to the next one of the ports. */
export declare function split (ports: readonly number[]): Promise<{ readonly port: number, close (): void }>
